"""The configuration as one document."""

from __future__ import annotations

from typing import Any

import orjson

from app.http import Answer, transact
from app.services.configuration import changes, differences, snapshot
from app.services.configuration.changes import Outcome

Json = dict[str, Any]
FILE = {"content-disposition": 'attachment; filename="stockyard-config.json"'}


def get_config() -> Answer:
    """Everything in force."""
    return Answer(snapshot.effective(), headers={"etag": snapshot.etag()})


def change_config(body: Json, if_match: str | None) -> Answer:
    """Change some of it."""
    outcome = changes.patch(body, if_match)
    told = {"status": "updated", "applied": outcome.changed, "restart_required": []}
    return Answer(told, headers={"etag": outcome.tag})


def export_config() -> Answer:
    """All of it as a file."""
    body = orjson.dumps(snapshot.exported(), option=orjson.OPT_INDENT_2)
    return Answer(body, headers=FILE | {"etag": snapshot.etag()})


def import_config(body: Json, dry_run: bool, if_match: str | None) -> Answer:
    """Put a snapshot over it. Webhooks are looked at first: their hosts are looked up, which may take its time."""
    with transact(write=False):
        known = changes.known_urls()
    new = changes.prepare(body, known)
    with transact():
        outcome = changes.put_over(body, new, if_match, dry_run=dry_run)
    return Answer(_imported(outcome, dry_run=dry_run), headers={} if dry_run else {"etag": outcome.tag})


def diff_config(body: Json) -> Json:
    """What an import would change, or what differs between two snapshots."""
    if "incoming" not in body:
        wanted = snapshot.complete(snapshot.read(body))
        return differences.summary(differences.between(snapshot.take(), wanted, whole=False))
    first, second = (snapshot.complete(snapshot.read(body[name])) for name in ("current", "incoming"))
    return differences.summary(differences.between(first, second, whole=True))


def _imported(outcome: Outcome, *, dry_run: bool) -> Json:
    return {
        "status": "checked" if dry_run else "imported",
        "dry_run": dry_run,
        "applied": len(outcome.changed),
        "modules": outcome.modules,
        "paths": outcome.changed,
        "unknown": outcome.unknown,
        "skipped": outcome.skipped,
        "webhooks": outcome.webhooks,
    }
