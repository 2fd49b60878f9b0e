"""Every job type over rows, by its slug."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.services.row_jobs import (
    dedupe,
    emails,
    http_fetch,
    import_list,
    normalize,
    socials,
    sort,
    techstack,
    verify_emails,
)
from app.services.row_jobs import filter as filtering
from app.services.row_jobs.contract import JobFailed, JobType, Json, Prepared, Tools, UnitFailed

__all__ = ["TYPES", "JobFailed", "JobType", "Json", "Prepared", "Tools", "UnitFailed"]

MODULES: Final = (
    dedupe,
    emails,
    filtering,
    http_fetch,
    import_list,
    normalize,
    socials,
    sort,
    techstack,
    verify_emails,
)
TYPES: Final[Mapping[str, JobType]] = {module.TYPE.slug: module.TYPE for module in MODULES}
