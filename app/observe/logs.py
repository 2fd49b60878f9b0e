"""Log lines: one per request and one per failure, as text or JSON, with every credential taken out on the way."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from time import perf_counter
from typing import Any, Final, TextIO

import orjson

from app.security.redact import is_secret, redact, redact_mapping
from app.settings import Settings
from app.wire.call import Call, running

access: Final = logging.getLogger("yardmaster.access")
LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
CLIENT_GONE: Final = 499
# A shorter value is likelier a switch than a key, and would be cut out of ordinary words.
KEY_LENGTH: Final = 8
MOST_FRAMES: Final = 25
MOST_CAUSES: Final = 5
CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), 127)} | {9: "\\t", 10: "\\n", 13: "\\r"}


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every record of this process to standard error or `stream`, in the settings' format and from their level.

    Other people's loggers speak from WARNING on. Call it again in a process that was not forked from this one.
    """
    level = LEVELS[settings.log_level]
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.addFilter(Scrub(_known_secrets(os.environ), messages=level <= logging.DEBUG))
    handler.setFormatter(FORMATS[settings.log_format]())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("yardmaster").setLevel(level)
    logging.captureWarnings(capture=True)
    threading.excepthook = _thread_failed


def answered(method: str, status: int, call: Call | None, began: tuple[str, str, float]) -> None:
    """The line of one request; `began` is its id, the client's address and the `perf_counter` when it came.

    The path is the document's template: what a caller wrote into it may be a secret. A call of the gateway leaves a
    trace and a probe comes every second, so both are told at DEBUG while all is well.
    """
    level = _level_of(status, call)
    if not access.isEnabledFor(level):
        return
    request_id, client, at = began
    fields = {"request_id": request_id, "method": method, "status": status, "client": client}
    fields["duration_ms"] = round((perf_counter() - at) * 1_000, 3)
    fields["route"] = call.operation.path if call else "unmatched"
    if call:
        fields |= {"operation": call.operation.id, "principal": call.principal.kind, "key_id": call.principal.key_id}
    access.log(level, "%s %s %d", method, fields["route"], status, extra={"fields": fields})


def _level_of(status: int, call: Call | None) -> int:
    if status >= 500:  # noqa: PLR2004 (the server's own failures)
        return logging.WARNING
    if call is None or status >= 400:  # noqa: PLR2004 (a refusal)
        return logging.INFO
    quiet = call.operation.dialect == "gateway" or call.operation.limit == "exempt"
    return logging.DEBUG if quiet else logging.INFO


class Scrub(logging.Filter):
    """Settles a record's text before any formatter sees it, without credentials, and with the request's id.

    The message of an exception may quote what a caller sent, so it is left out; `messages` keeps it, for debugging.
    """

    def __init__(self, secrets: Iterable[str] = (), *, messages: bool = False) -> None:
        super().__init__()
        self._secrets = tuple(secrets)
        self._messages = messages

    def filter(self, record: logging.LogRecord) -> bool:
        """True always; a record that cannot be made readable says where it came from and nothing else."""
        try:
            self._settle(record)
        except Exception as error:  # noqa: BLE001 (a log line must not fail the request that writes it)
            record.msg, record.args, record.exc_info = f"a log line failed ({type(error).__name__})", (), None
            record.exc_text = record.stack_info = None
        return True

    def _settle(self, record: logging.LogRecord) -> None:
        call = running()
        secrets = (*self._secrets, call.principal.secret) if call else self._secrets
        fields: dict[str, Any] = {"request_id": call.request_id} if call else {}
        fields |= getattr(record, "fields", {})
        record.msg, record.args, record.fields = self._message(record), (), fields
        if _suspicious(record.msg, fields, secrets):
            record.msg, record.fields = redact(record.msg, *secrets), redact_mapping(fields, *secrets)
        record.exc_text, record.stack_info = None, None
        if record.exc_info and record.exc_info[1]:
            lines = _told(record.exc_info[1], messages=self._messages)
            record.exc_text, record.exc_info = redact("\n".join(lines), *secrets), None

    def _message(self, record: logging.LogRecord) -> str:
        """The HTTP server ends its messages with a line break, and what it adds after one is not its own."""
        text = record.getMessage()
        return text.partition("\n")[0] if record.name.startswith("uvicorn") and not self._messages else text


def _suspicious(message: str, fields: Mapping[str, Any], secrets: tuple[str, ...]) -> bool:
    """Whether anything must be taken out: one look at all of it, for nearly every record is clean."""
    whole = "\n".join((message, *fields, *map(str, fields.values())))
    return redact(whole, *secrets) != whole or any(map(_hides, fields))


def _told(error: BaseException, *, messages: bool) -> Iterator[str]:
    """An exception's lines, its causes first: the frames with their source, and its type."""
    for at, link in enumerate(_chain(error)):
        if at:
            yield "which led to"
        for frame in traceback.extract_tb(link.__traceback__)[-MOST_FRAMES:]:
            yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
            yield f"    {frame.line}"
        yield f"{type(link).__qualname__}: {link}" if messages else type(link).__qualname__


def _chain(error: BaseException | None) -> list[BaseException]:
    """The exception after what caused it, the first cause first."""
    chain: list[BaseException] = []
    while error is not None and len(chain) < MOST_CAUSES:
        chain.append(error)
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        else:
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain[::-1]


class Text(logging.Formatter):
    """One readable line a record; an exception follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """`<time> <LEVEL> <logger> <message> <name>=<value> ...`."""
        told = " ".join(f"{name}={value}" for name, value in _fields(record).items() if name not in _SAID)
        name = record.name.removeprefix("yardmaster.")
        said = f"{name}: {record.getMessage()} {told}".rstrip().translate(CONTROLS)
        line = f"{_time(record)} {record.levelname:<7} {said}"
        return f"{line}\n{record.exc_text}" if record.exc_text else line


class Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """`time`, `level`, `logger`, `message`, the record's fields, and `exception` when there was one."""
        entry = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        entry |= {"message": record.getMessage()} | _fields(record)
        if record.exc_text:
            entry["exception"] = record.exc_text
        return orjson.dumps(entry, default=str).decode()


FORMATS: Final[Mapping[str, type[logging.Formatter]]] = {"text": Text, "json": Json}
_hides = lru_cache(maxsize=1_000)(is_secret)
# What the message of an access line has already said.
_SAID: Final = frozenset({"method", "route", "status"})


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in getattr(record, "fields", {}).items() if value is not None}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _known_secrets(environ: Mapping[str, str]) -> list[str]:
    """The keys this process was started with: many providers' have no prefix to be told by."""
    return [value for name, value in environ.items() if is_secret(name) and len(value) >= KEY_LENGTH]


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """A thread's end by an exception, told like any other failure."""
    name = failure.thread.name if failure.thread else "a thread"
    error = failure.exc_value or failure.exc_type()
    logging.getLogger("yardmaster.threads").error("%s ended by %s", name, type(error).__name__, exc_info=error)
