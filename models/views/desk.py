"""How the service desk's records are shown: seconds in UTC, and null for what is not set."""

from __future__ import annotations

from typing import Any

import orjson
from marshmallow import Schema
from marshmallow.fields import Function, List, String

from models.desk import BulkJob, BulkRecord, user_id
from models.orgs import Membership
from models.views.fields import Timestamp, rfc3339

Json = dict[str, Any]


def _moment() -> Timestamp:
    return Timestamp(timespec="seconds")


class DeskKeyView(Schema):
    """A key, without its secret."""

    id = String(attribute="uid")
    name = String()
    prefix = String()
    role = String()
    expires_at = _moment()
    last_used_at = _moment()
    created_at = _moment()
    revoked_at = _moment()


class GroupView(Schema):
    """A group."""

    id = String(attribute="uid")
    name = String()
    code = String()
    type = String(attribute="kind")
    skills = List(String())
    manager_id = Function(lambda group: user_id(group.manager.uid) if group.manager else None)
    members = Function(lambda group: [user_id(user.uid) for user in group.members])


class IncidentView(Schema):
    """An incident."""

    id = String(attribute="number", dump_only=True)
    number = String()
    short_description = String()
    description = String()
    priority = String()
    impact = String()
    urgency = String()
    state = String()
    category = String()
    subcategory = String()
    assignment_group = String()
    assigned_to = String()
    opened_by = String()
    ci_id = String()
    parent_problem_id = String()
    change_id = String()
    resolution_code = String()
    resolution_notes = String()
    tags = List(String())
    created_at = _moment()
    updated_at = _moment()
    resolved_at = _moment()
    closed_at = _moment()


class NoteView(Schema):
    """A note on an incident."""

    id = String(attribute="uid")
    note = String()
    visibility = String()
    author = String()
    created_at = _moment()


def person(member: Membership, groups: list[str]) -> Json:
    """Somebody of a tenant, with the names of their groups."""
    user = member.user
    seen = user.last_login_at
    return {
        "id": user_id(user.uid),
        "email": user.email,
        "display_name": user.name,
        "role": member.desk_role,
        "active": user.is_active,
        "assignment_groups": groups,
        "last_login": rfc3339(seen, "seconds") if seen else None,
        "created_at": rfc3339(user.created_at, "seconds"),
    }


class BulkJobView(Schema):
    """A bulk job with what became of each record so far, in the order they were sent."""

    job_id = String(attribute="uid")
    type = String(attribute="kind")
    status = String()
    total = Function(lambda job: job.total)
    processed = Function(lambda job: len(_done(job)))
    succeeded = Function(lambda job: sum(record.status != "failed" for record in _done(job)))
    failed = Function(lambda job: sum(record.status == "failed" for record in _done(job)))
    results = Function(lambda job: [_result(record) for record in _done(job)])
    created_at = _moment()
    started_at = _moment()
    completed_at = _moment()


def _done(job: BulkJob) -> list[BulkRecord]:
    return [record for record in job.records if record.status is not None]


def _result(record: BulkRecord) -> Json:
    told = {"id": record.record_id} if record.record_id else {}
    return {"index": record.position, "status": record.status} | told | _error(record)


def _error(record: BulkRecord) -> Json:
    return {"error": orjson.loads(record.error)} if record.error else {}
