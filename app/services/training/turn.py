"""The turn that writes training data: what was chosen, in the files it belongs in, and remembered with them at once.

A file is in its place before the database knows of its new lines. A worker that dies between the two leaves whole lines
that nobody knows: the next one writes the file without them, and those calls once more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from sqlalchemy import Engine, delete, func, insert, select
from sqlalchemy.orm import Session

from app.engine import Context
from app.services.observing import ratings
from app.services.observing.switched import Settings, enabled, settings_of
from app.services.rollups import only_writer
from app.services.training import choosing, files
from app.services.training.choosing import Choice
from models.base import transaction
from models.traces import TraceBody
from models.training import TrainingCall, TrainingFile, TrainingSearch

log = logging.getLogger("yardmaster.training")
Json = dict[str, Any]
Lines = list[tuple[Choice, bytes]]
NAME: Final = "trainexport"
ONLY: Final = 1
PAUSE_S: Final = 0.05
LARGEST_FILE: Final = 64 * 1024 * 1024
# Nothing more is written until somebody takes files away.
MOST_BYTES: Final = 1024 * 1024 * 1024
SHOWN: Final = 20


@dataclass(slots=True)
class Share:
    """What one file gets of some lines."""

    file: TrainingFile
    lines: Lines = field(default_factory=list)
    size: int = 0


class Sweep:
    """The engine's turn that forgets."""

    EVERY_S: ClassVar[float] = 3_600.0

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, _context: Context) -> None:
        """Forget."""
        with transaction(self._engine) as session:
            forget(session)


class Turn:
    """The engine's turn that writes."""

    EVERY_S: ClassVar[float] = 60.0

    def __init__(self, engine: Engine, data: Path, *, pause_s: float = PAUSE_S) -> None:
        self._engine = engine
        self._data = data
        self._pause_s = pause_s

    def __call__(self, context: Context) -> None:
        """Take out of the files what must not be there any more; while the module is on, write what was rated since."""
        with transaction(self._engine, write=False) as session:
            settings = enabled(session, NAME)
            scale = settings_of(session, ratings.NAME)["scale"]
            in_order = is_tidy(session, self._data)
        if not in_order:
            with transaction(self._engine) as session:
                tidy(session, self._data)
        if settings is None:
            return
        after: int | None = self._begin(settings, scale)
        while after is not None:
            after = self._batch(settings, scale, after)
            context.pause(self._pause_s)

    def _begin(self, settings: Settings, scale: str) -> int:
        """After which feedback to go on; from the first where the terms are others than before."""
        terms = f"{settings['min_rating']} {scale}"
        with transaction(self._engine) as session:
            search = _search(session)
            if search.terms != terms:
                search.terms, search.reached = terms, 0
            return search.reached

    def _batch(self, settings: Settings, scale: str, after: int) -> int | None:
        """Some feedback; its last number, None when there was none, or no room for what it names."""
        with transaction(self._engine, write=False) as session:
            seen = choosing.look(session, settings, scale, after)
        if seen is None:
            return None
        made = list(choosing.lines(seen.chosen, settings))
        with transaction(self._engine) as session:
            only_writer(session.connection())  # as whoever erases a user does: a call is not written while it goes
            search = _search(session)
            if made and _is_full(session):
                return None
            search.written += add(session, self._data, settings, made)
            if search.reached == after:  # whatever is before is settled, too
                search.reached = seen.settled
        return seen.last


def add(session: Session, data: Path, settings: Settings, made: Lines) -> int:
    """Write lines to the files that have room, and remember whose they are; how many. OSError when the disk is full."""
    kept = choosing.still(session, [one for one, _ in made])
    shares = _shared(session, data, settings, [pair for pair in made if pair[0].seq in kept])
    for share in shares:
        path = files.place(data, share.file.number)
        before = files.held(path, _digests(session, share.file.number))
        share.file.size = files.write(path, [*before, *(line for _, line in share.lines)])
        share.file.lines = len(before) + len(share.lines)
        rows = [_row(one, line, share.file.number) for one, line in share.lines]
        session.execute(insert(TrainingCall), rows)
    return sum(len(share.lines) for share in shares)


def is_tidy(session: Session, data: Path) -> bool:
    """Whether the files hold what is known and nothing else, as far as their sizes tell."""
    return not _wrong(session, data) and not files.strays(data, _last(session))


def tidy(session: Session, data: Path) -> None:
    """Write those again that hold too much, note which were taken away, and remove what is not known."""
    _search(session)
    for file in _wrong(session, data):
        path = files.place(data, file.number)
        if files.size_of(path) is None:
            file.size = 0
            continue
        lines = files.held(path, _digests(session, file.number))
        file.lines, file.size = len(lines), files.write(path, lines) if lines else 0
        if not lines:
            path.unlink()
    for stray in files.strays(data, _last(session)):
        stray.unlink(missing_ok=True)


def forget(session: Session) -> None:
    """Forget calls in files that were taken away, once they cannot be chosen again: their bodies are gone."""
    taken = TrainingCall.number.in_(select(TrainingFile.number).where(TrainingFile.size == 0))
    kept = select(TraceBody.seq).where(TraceBody.seq == TrainingCall.seq).exists()
    session.execute(delete(TrainingCall).where(taken, ~kept))


def stats(session: Session) -> Json:
    """How many calls were written, to which files, and whether they have to be taken away before it goes on."""
    written = session.scalar(select(TrainingSearch.written).where(TrainingSearch.id == ONLY))
    latest = session.scalars(select(TrainingFile).order_by(TrainingFile.number.desc()).limit(SHOWN))
    return {"written": written, "full": _is_full(session), "files": [_shown(file) for file in latest]}


def _search(session: Session) -> TrainingSearch:
    """How far it came, held until the transaction is over: only one worker at a time."""
    return session.get_one(TrainingSearch, ONLY, with_for_update=True)


def _wrong(session: Session, data: Path) -> list[TrainingFile]:
    """The files that hold other lines than those that are known, or were taken away."""
    held = session.scalars(select(TrainingFile).where(TrainingFile.size > 0)).all()
    sizes = {file.number: files.size_of(files.place(data, file.number)) for file in held}
    counted = select(TrainingCall.number, func.count()).where(TrainingCall.number.in_(sizes))
    known = {number: int(lines) for number, lines in session.execute(counted.group_by(TrainingCall.number))}
    return [file for file in held if (file.lines, file.size) != (known.get(file.number, 0), sizes[file.number])]


def _last(session: Session) -> int:
    return session.scalar(select(func.max(TrainingFile.number))) or 0


def _is_full(session: Session) -> bool:
    return (session.scalar(select(func.sum(TrainingFile.size))) or 0) >= MOST_BYTES


def _digests(session: Session, number: int) -> Iterable[str]:
    return session.scalars(select(TrainingCall.digest).where(TrainingCall.number == number))


def _shared(session: Session, data: Path, settings: Settings, made: Lines) -> list[Share]:
    """Which file gets which lines: the last one while it has room, is of the same form and was not taken away."""
    shares: list[Share] = []
    file = session.scalar(select(TrainingFile).order_by(TrainingFile.number.desc()).limit(1))
    if file is not None and files.size_of(files.place(data, file.number)) is None:
        file.size = 0
    share = Share(file, size=file.size) if file is not None and file.size and file.form == settings["format"] else None
    number = 0 if file is None else file.number
    for one, line in made:
        if share is None or _no_room(share, len(line), settings["max_rows"]):
            number += 1
            share = Share(TrainingFile(number=number, form=settings["format"], lines=0, size=0))
            session.add(share.file)
        if not share.lines:
            shares.append(share)
        share.lines.append((one, line))
        share.size += len(line)
    return shares


def _no_room(share: Share, size: int, most: int) -> bool:
    return share.file.lines + len(share.lines) >= most or share.size + size > LARGEST_FILE


def _row(one: Choice, line: bytes, number: int) -> Json:
    told: Json = {"seq": one.seq, "trace_id": one.trace_id, "user_id": one.user_id, "created_at": one.created_at}
    return told | {"number": number, "digest": files.digest(line)}


def _shown(file: TrainingFile) -> Json:
    """Its name in the data directory, and whether it is still there."""
    name = str(files.place(Path(), file.number))
    return {"file": name, "form": file.form, "calls": file.lines, "bytes": file.size, "present": file.size > 0}
