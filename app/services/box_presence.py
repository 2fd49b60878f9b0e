"""Whether boxes are there: what their heartbeats tell is kept, and who falls silent is offline."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Select, delete, select, update

from app.engine.context import Context
from app.services import locks
from models.base import now, session, transaction
from models.boxes import OFFLINE, ONLINE, Box, Device, Heartbeat

log = logging.getLogger("yardmaster.box_presence")
INTERVAL_S = 30
SILENCE = timedelta(seconds=90)
KEPT = timedelta(days=7)
# A box that names its nets anew each time must not fill the table: of those not there any more, so many are kept.
MOST_ABSENT = 500
CHECK_S = 5.0
BATCH = 500
Json = dict[str, Any]


def receive(box: Box, report: Mapping[str, Any]) -> datetime:
    """Take a heartbeat of a box that is held: it is online, and what it says is kept; when it was taken."""
    moment = now()
    if box.status != ONLINE:
        log.info("box %s is online", box.uid)
    box.status, box.last_heartbeat_at = ONLINE, moment
    _describe(box, report)
    if "devices" in report:
        _keep_devices(box, report["devices"], moment)
    row = Heartbeat(box_id=box.id, received_at=moment, status=report.get("status", {}))
    row.agent_version, row.metrics = report.get("agentVersion"), report.get("metrics")
    row.device_count = box.device_count
    session().add(row)
    session().flush()
    if "lock" in report:
        locks.mirror(box, report["lock"])
    return moment


def heartbeats(box: Box, since: datetime | None, until: datetime | None) -> Select[Heartbeat]:
    """The box's heartbeats from `since` on and before `until`."""
    found = select(Heartbeat).where(Heartbeat.box_id == box.id)
    if since is not None:
        found = found.where(Heartbeat.received_at >= since)
    return found if until is None else found.where(Heartbeat.received_at < until)


def mark_silent(moment: datetime) -> Sequence[str]:
    """Set every box offline that was online and silent for 90 seconds, in one update; their UUIDs."""
    silent = update(Box).where(Box.status == ONLINE, Box.last_heartbeat_at < moment - SILENCE)
    gone = silent.values(status=OFFLINE).returning(Box.uid)
    return session().scalars(gone, execution_options={"synchronize_session": False}).all()


def any_silent(moment: datetime) -> bool:
    """Whether `mark_silent` would find one: to ask before taking the right to write."""
    silent = select(Box.id).where(Box.status == ONLINE, Box.last_heartbeat_at < moment - SILENCE)
    return session().scalar(silent.limit(1)) is not None


def forget_old(moment: datetime) -> int:
    """Delete some of the heartbeats older than seven days; how many."""
    old = select(Heartbeat.id).where(Heartbeat.received_at < moment - KEPT).limit(BATCH)
    gone = delete(Heartbeat).where(Heartbeat.id.in_(old)).returning(Heartbeat.id)
    return len(session().scalars(gone, execution_options={"synchronize_session": False}).all())


def _describe(box: Box, report: Mapping[str, Any]) -> None:
    """What is left out stays as it was last said."""
    box.agent_version = report.get("agentVersion", box.agent_version)
    box.lager_version = report.get("status", {}).get("version", box.lager_version)
    box.hardware = report.get("hardware", box.hardware)
    box.capabilities = report.get("capabilities", box.capabilities)


def _keep_devices(box: Box, told: Sequence[Json], moment: datetime) -> None:
    """Each net once by its name; those not told of any more stay, marked. The box is held, so nobody else is at it."""
    reported = {device["netName"]: device for device in told}
    known = {row.net_name: row for row in session().scalars(select(Device).where(Device.box_id == box.id))}
    for net_name, device in reported.items():
        row = known.get(net_name) or Device(box_id=box.id, net_name=net_name)
        values = {"name": device.get("name", net_name), "type": device["type"], "present": True}
        _write(row, values | {"capabilities": device.get("capabilities", {})}, moment)
        row.last_seen_at = moment
        session().add(row)
    absent = [row for net_name, row in known.items() if net_name not in reported]
    for row in absent:
        _write(row, {"present": False}, moment)
    for row in sorted(absent, key=lambda row: row.last_seen_at, reverse=True)[MOST_ABSENT:]:
        session().delete(row)
    box.device_count = len(reported)


def _write(row: Device, values: Mapping[str, Any], moment: datetime) -> None:
    for name, value in values.items():
        if getattr(row, name) != value:
            setattr(row, name, value)
            row.updated_at = moment


class Presence:
    """Looks for boxes that fell silent, and deletes old heartbeats: in turns of the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, _context: Context) -> None:
        """Mark the silent ones, and delete a batch of old heartbeats."""
        moment = now()
        with transaction(self._engine, write=False):
            due = any_silent(moment) or _any_old(moment)
        if due:
            with transaction(self._engine):
                for uid in mark_silent(moment):
                    log.info("box %s is offline", uid)
                forget_old(moment)


def _any_old(moment: datetime) -> bool:
    return session().scalar(select(Heartbeat.id).where(Heartbeat.received_at < moment - KEPT).limit(1)) is not None
