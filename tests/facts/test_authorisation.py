"""Who may do what: the document's table, held against the server for every operation and every kind of credential."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select

import app.security
from app.security.keys import fingerprint, legacy_fingerprint, mint
from app.security.scopes import covers
from app.services import accounts
from app.services.accounts import Terms
from app.spec.operations import Operation
from models.base import Base, now, transaction
from models.identity import User
from support.asking import Asked, ask
from support.callers import Client

ALLOWED = 0
PROVIDER_KEY = "sk-proj-0123456789abcdefghijABCDEFGHIJ"
NARROWED = "observe:read"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of credential: the security scheme it is one of, and the role it has; no scheme when it is none at all."""

    scheme: str = ""
    role: str = ""
    scopes: frozenset[str] = frozenset({"*"})
    valid: bool = True


KINDS = {
    "none": Kind(),
    "garbage bearer": Kind("sy_key", valid=False),
    "malformed header": Kind("sy_key", valid=False),
    "unknown key": Kind("sy_key", valid=False),
    "unknown admin key": Kind("sy_admin_header", valid=False),
    "revoked key": Kind("sy_key", valid=False),
    "expired key": Kind("sy_key", valid=False),
    "user key": Kind("sy_key", "user"),
    "another user's key": Kind("sy_key", "user"),
    "narrowed user key": Kind("sy_key", "user", frozenset({NARROWED})),
    "user key as admin": Kind("sy_admin_header", "user"),
    "admin key": Kind("sy_key", "admin"),
    "admin key as admin": Kind("sy_admin_header", "admin"),
    "provider key": Kind("provider_key"),
}


def expected(operation: Operation, kind: Kind) -> int:
    """401, 403 or ALLOWED, by the document alone."""
    if not operation.security:
        return ALLOWED
    if not kind.scheme:
        return ALLOWED if {} in operation.security else 401
    takers = [r[kind.scheme] for r in operation.security if kind.scheme in r]
    if not kind.valid or (kind.scheme == "provider_key" and not takers):
        return 401
    admitted = any(not roles or kind.role in roles for roles in takers)
    return ALLOWED if admitted and covers(kind.scopes, operation.tag, operation.method) else 403


@pytest.fixture(autouse=True)
def _no_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A raw provider key is passed on: to nobody, here."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")


@pytest.fixture
def credentials(client: Client) -> dict[str, dict[str, str]]:
    """The headers of each kind of credential."""
    keys = _made(client)
    bearers = {
        "garbage bearer": "garbage",
        "unknown key": mint("user"),
        "user key": client.user.headers["authorization"].removeprefix("Bearer "),
        "admin key": client.admin.headers["authorization"].removeprefix("Bearer "),
        "provider key": PROVIDER_KEY,
    }
    held = {name: {"authorization": f"Bearer {key}"} for name, key in (bearers | keys).items()}
    in_header = {"unknown admin key": mint("admin"), "user key as admin": bearers["user key"]}
    in_header["admin key as admin"] = bearers["admin key"]
    held |= {name: {"x-admin-key": key} for name, key in in_header.items()}
    return held | {"none": {}, "malformed header": {"authorization": bearers["admin key"]}}


def _made(client: Client) -> dict[str, str]:
    """The kinds of key that must be stored first."""
    runtime = client.application.runtime
    with transaction(runtime.engine) as session:
        first = session.scalars(select(User.id)).one()
        _, another = accounts.add_user("another@localhost.example", runtime.secrets)
        revoked = accounts.add_key(first, Terms("revoked"), runtime.secrets)
        accounts.revoke_key(first, revoked.row.id)
        expired = accounts.add_key(first, Terms("old", expires_at=now() - timedelta(seconds=1)), runtime.secrets)
        narrowed = accounts.add_key(first, Terms("narrow", scopes=NARROWED), runtime.secrets)
    made = {"another user's key": another, "revoked key": revoked, "expired key": expired}
    return {name: issued.key for name, issued in (made | {"narrowed user key": narrowed}).items()}


def in_order(operations: Iterable[Operation]) -> list[Operation]:
    """What only reads first, what removes last, so that one operation does not spoil the next one's answer."""
    ranks = {"get": 0, "delete": 2}
    return sorted(operations, key=lambda o: (ranks.get(o.method, 1), o.id))


def asked_of(client: Client, operation: Operation, headers: dict[str, str]) -> Asked:
    """The answer to this credential, in the loop the application lives in."""
    portal = client._client.portal
    assert portal is not None
    return portal.call(ask, client.application, operation, headers)


def wrong(operation: Operation, wanted: int, answer: Asked) -> str:
    """What is wrong with an answer; empty when nothing is."""
    if wanted == ALLOWED:
        said_itself = not operation.security and str(answer.status) in operation.raw["responses"]
        return "refused" if answer.status in {401, 403} and not said_itself else ""
    if answer.status != wanted:
        return f"{answer.status} instead of {wanted}"
    challenged = "www-authenticate" in answer.headers
    return "" if challenged is (wanted == 401) else "a challenge belongs to a 401 and to nothing else"


@pytest.mark.settings(signup="open")
@pytest.mark.parametrize("name", KINDS)
def test_every_operation_admits_whom_the_document_admits(
    client: Client, credentials: dict[str, dict[str, str]], name: str
) -> None:
    """One operation that forgot to ask is all it takes; none is left out."""
    operations = client.application.runtime.index.by_id
    found = {}
    for operation in in_order(operations.values()):
        answer = asked_of(client, operation, credentials[name])
        found[operation.id] = wrong(operation, expected(operation, KINDS[name]), answer)
    assert not {id_: fault for id_, fault in found.items() if fault}
    documented = client.application.runtime.index.document["paths"].values()
    assert len(found) == sum(1 for item in documented for value in item.values() if "operationId" in value)


def test_every_scheme_of_the_document_is_tried(document: dict[str, Any], client: Client) -> None:
    """A new kind of credential must come into this table before the first operation takes it."""
    used = {s for o in client.application.runtime.index.by_id.values() for r in o.security for s in r}
    assert used == set(document["components"]["securitySchemes"])
    assert used == {kind.scheme for kind in KINDS.values() if kind.valid} - {""}


def test_the_table_has_every_verdict(client: Client) -> None:
    """A table that says the same of everything proves nothing."""
    operations = client.application.runtime.index.by_id.values()
    verdicts = {name: {expected(o, kind) for o in operations} for name, kind in KINDS.items()}
    assert verdicts["user key"] == {ALLOWED, 403}
    assert verdicts["admin key"] == {ALLOWED, 403}
    assert verdicts["provider key"] == verdicts["revoked key"] == {ALLOWED, 401}


def test_a_key_is_looked_up_by_its_hash_alone(client: Client) -> None:
    """The key itself never reaches the database, whose logs and timings others may see."""
    engine, pepper = client.application.runtime.engine, client.application.runtime.secrets.pepper
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "api_keys" in statement:
            seen.append(str(parameters))

    key = mint("user")
    event.listen(engine, "before_cursor_execute", note)
    assert client.bearing(key).get("/api/auth/me").status_code == 401
    event.remove(engine, "before_cursor_execute", note)
    assert seen
    assert fingerprint(key, pepper) in seen[0]
    assert legacy_fingerprint(key) in seen[0]
    assert key not in str(seen)


def stored(engine: Engine) -> str:
    """Everything in the database, as text."""
    with engine.connect() as connection:
        return str([connection.execute(select(table)).all() for table in Base.metadata.sorted_tables])


def test_no_key_is_stored(client: Client, credentials: dict[str, dict[str, str]]) -> None:
    """Whoever reads the database, or a backup of it, can call nothing."""
    for headers in credentials.values():
        client.bearing(**headers).get("/api/auth/me")
    whole = stored(client.application.runtime.engine)
    secrets = {value.removeprefix("Bearer ") for headers in credentials.values() for value in headers.values()}
    assert "another@localhost.example" in whole
    assert not [secret for secret in secrets if secret != "garbage" and secret in whole]


def test_no_secret_is_compared_character_by_character() -> None:
    """`==` stops at the first difference and tells by its time how far a guess was right."""
    secretive = {"secret", "key", "token", "digest", "password", "presented", "_admin"}
    for file in Path(app.security.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                names = {getattr(side, "id", getattr(side, "attr", "")) for side in (node.left, *node.comparators)}
                assert not names & secretive, f"{file.name}:{node.lineno}"
