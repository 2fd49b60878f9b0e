"""Things: what the miniature document is about."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, String, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.http import Answer, created, page
from app.problems import not_found
from app.wire.call import Call
from app.wire.pages import Listing
from app.wire.replies import Reply, json_reply
from models.base import Moment, RowId, now, session

Json = dict[str, Any]
SECRET = "postgresql://operator:hunter2@db/yard"


class Own(DeclarativeBase):
    """Tables of tests, apart from the server's."""


class Thing(Own):
    """A thing."""

    __tablename__ = "miniature_things"

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(BigInteger)
    made_at: Mapped[datetime] = mapped_column(Moment, default=now)


ORDERS = {"made": (Thing.made_at, Thing.id), "name": (Thing.name, Thing.id)}


def shown(thing: Thing) -> Json:
    """A thing on the wire."""
    return {"id": thing.id, "name": thing.name, "size": thing.size}


def list_things(size: int | None, sort: str, x_depth: int, **window: Any) -> Json:
    """Things, newest first or by name."""
    assert isinstance(x_depth, int)
    query = select(Thing) if size is None else select(Thing).where(Thing.size == size)
    return page(Listing(query, "things", shown, key=ORDERS[sort]), **window)


def create_thing(body: Json) -> Answer:
    """Make a thing."""
    thing = Thing(name=body["name"], size=body["size"])
    session().add(thing)
    session().flush()
    return created(shown(thing), f"/things/{thing.id}")


def get_thing(id_: int) -> Json:
    """One thing."""
    return shown(_found(id_))


def delete_thing(id_: int) -> None:
    """Remove a thing."""
    session().delete(_found(id_))


def _found(number: int) -> Thing:
    thing = session().get(Thing, number)
    if thing is None:
        raise not_found("Thing")
    return thing


def get_name(name: str) -> Json:
    """The name as it was understood."""
    return {"name": name}


async def echo_thing(call: Call, count: int) -> Reply:
    """The body as it was understood."""
    return json_reply({"body": call.body, "count": count})


def open_session(body: Json) -> Json:
    """Whoever it is, they are in."""
    return {"ok": True}


def get_bulk() -> Json:
    """Nothing, without being counted."""
    return {}


def break_down() -> Json:
    """A fault whose message must not reach anybody."""
    raise RuntimeError(SECRET)


async def break_stream(_call: Call) -> Reply:
    """The same on the other plane."""
    raise RuntimeError(SECRET)
