"""Many records in one request, carried out after it."""

from __future__ import annotations

from typing import Any

from app.http import Answer, caller
from app.security.desk_roles import SUPER_ADMIN
from app.services import bulk
from app.services.desk import acting
from app.services.incident_records import KIND
from models.views.desk import BulkJobView

Json = dict[str, Any]


def import_incidents(body: Json) -> Answer:
    """Accept records of incidents."""
    job = bulk.accept(acting(), KIND, body["records"])
    address = f"/prod/api/v1/bulk/jobs/{job.uid}"
    told = {"job_id": job.uid, "status": job.status, "total": job.total, "status_url": address}
    return Answer(told, 202, {"location": address})


def get_bulk_job(job_id: str) -> Json:
    """How far a job is."""
    shown: Json = BulkJobView().dump(bulk.get(acting(), job_id, anybodys=SUPER_ADMIN in caller().roles))
    return shown
