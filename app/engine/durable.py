"""Everything this server says to DBOS: one durable workflow, `task`, whose steps are recorded as they end.

DBOS is one per process, and is imported and launched when there is first something to do: an idle worker pays neither
its memory nor its threads. On SQLite its tables are in a file of their own, `engine.db` in the data directory, so that
its writes wait for nobody's and nobody waits for them; on PostgreSQL they are in a schema of their own.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable
from contextvars import Context as Variables
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from app.engine.context import Stopping

if TYPE_CHECKING:
    from dbos import DBOSConfig

# The version of the workflow's own schema, not of the server: an upgraded server goes on with what an older one began.
VERSION = "1"
FILE = "engine.db"
SCHEMA = "yardmaster_engine"
WORKFLOW = "task"
POOL_SIZE = 8
POLL_S = 0.5
BUSY_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10
ACTIVE = frozenset({"PENDING", "ENQUEUED", "DELAYED", "CANCELLED"})
_only = threading.Lock()
log = logging.getLogger("yardmaster.engine")


class Durable:
    """DBOS in this process. `run` is called with a workflow's name, here and after a crash wherever it is taken up."""

    def __init__(self, url: str, data: Path, executor: str, run: Callable[[str], None]) -> None:
        self._url = url
        self._data = data
        self._executor = executor
        self._run = run
        self._engine: Engine | None = None
        self._task: Any = None

    @property
    def launched(self) -> bool:
        """Whether it is up."""
        return self._engine is not None

    def launch(self) -> bool:
        """Bring it up; false when another application of this process has it."""
        if self.launched:
            return True
        if not _only.acquire(blocking=False):
            return False
        from dbos import DBOS  # noqa: PLC0415 (a fifth of a second and 14 MB that an idle worker does without)

        engine = self._connect()
        try:
            _hush()
            DBOS(config=self._config(engine))
            self._task = DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)(self._workflow())
            DBOS.launch()
        except BaseException:
            self._end(engine)
            raise
        self._engine = engine
        return True

    def destroy(self) -> None:
        """Take it down; what still runs is not recorded any more, and is taken up by others."""
        if self._engine is not None:
            self._end(self._engine)

    def start(self, name: str) -> None:
        """Begin a workflow of this name, once: one that was begun before is left as it is."""
        from dbos import DBOS, SetWorkflowID  # noqa: PLC0415

        with SetWorkflowID(name):
            DBOS.start_workflow(self._task, name)

    def take_up(self, name: str, alive: Iterable[str]) -> bool:
        """Go on with a workflow unless a living executor is at it, begin it if it never was; false when it is over."""
        from dbos import DBOS  # noqa: PLC0415

        known = DBOS.get_workflow_status(name)
        if known is None:
            self.start(name)
        elif known.status not in ACTIVE:
            return False
        elif known.status != "ENQUEUED" and known.executor_id not in set(alive) - {self._executor}:
            DBOS.resume_workflow(name)
        return True

    def steps(self, name: str) -> dict[str, Any]:
        """What the ended steps of a workflow returned; further ones are counted on from there."""
        from dbos import DBOS  # noqa: PLC0415

        # In a context of its own: asked from within a workflow, DBOS would make the question itself a step.
        recorded = Variables().run(DBOS.list_workflow_steps, name)
        for _ in range(max((step["function_id"] for step in recorded), default=0)):
            DBOS.reserve_step()
        return {step["function_name"]: step["output"] for step in recorded}

    def step(self, name: str, function: Callable[[], Any]) -> Any:
        """Run a step and record what it returned; Stopping when the workflow was given to another meanwhile."""
        from dbos import DBOS, error  # noqa: PLC0415

        try:
            return DBOS.run_step({"name": name}, function)
        except error.DBOSBaseException:
            raise Stopping from None

    def forget(self, names: list[str]) -> None:
        """Delete workflows and what was recorded of them."""
        from dbos import DBOS  # noqa: PLC0415

        DBOS.delete_workflows(names)

    def _workflow(self) -> Callable[[str], None]:
        def task(name: str) -> None:  # a plain function: DBOS writes attributes to it
            self._run(name)

        return task

    def _config(self, engine: Engine) -> DBOSConfig:
        return {
            "name": "yardmaster",
            "system_database_url": self._url,
            "system_database_engine": engine,
            "dbos_system_schema": SCHEMA,
            "application_version": VERSION,
            "executor_id": self._executor,
            "serializer": _serializer(),
            "use_listen_notify": False,
            "notification_listener_polling_interval_sec": POLL_S,
            "log_level": "WARNING",
        }

    def _connect(self) -> Engine:
        """An engine of DBOS's own; its errors never show parameters, which hold what steps returned."""
        pool = {"pool_size": POOL_SIZE, "max_overflow": 2 * POOL_SIZE, "hide_parameters": True}
        if not self._url.startswith("sqlite"):
            named = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "yardmaster engine"}
            return create_engine(self._url, pool_pre_ping=True, connect_args=named, **pool)
        file = (self._data / FILE).resolve()
        engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": BUSY_TIMEOUT_S}, **pool)
        event.listen(engine, "connect", _prepare_sqlite)
        return engine

    def _end(self, engine: Engine) -> None:
        from dbos import DBOS  # noqa: PLC0415

        DBOS.destroy(destroy_registry=True)
        engine.dispose()
        self._engine = self._task = None
        _only.release()


def _prepare_sqlite(connection: DBAPIConnection, _record: Any) -> None:
    connection.isolation_level = "IMMEDIATE"
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _hush() -> None:
    """Let DBOS speak through our handlers, and only when something is wrong: it brings a handler where it sees none."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = True


def _serializer() -> Any:
    """JSON instead of DBOS's pickle: whoever could write to its tables could otherwise run code in the server."""
    from dbos import Serializer  # noqa: PLC0415

    class Json(Serializer):
        def serialize(self, data: Any) -> str:
            return json.dumps(data, separators=(",", ":"))

        def deserialize(self, serialized_data: str) -> Any:
            return json.loads(serialized_data)

        def name(self) -> str:
            return "json"

    return Json()
