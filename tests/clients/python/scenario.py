"""What a program does with the client that openapi-python-client makes; prints what it saw, as JSON."""

from __future__ import annotations

import json
import sys
from typing import TypeVar
from uuid import UUID

from yardmaster_client import AuthenticatedClient, Client
from yardmaster_client.api.auth import create_my_key
from yardmaster_client.api.boxes import create_box, delete_box, get_box, update_box
from yardmaster_client.api.gateway import create_chat_completion, list_models
from yardmaster_client.api.incidents import create_incident, delete_incident, get_incident, update_incident
from yardmaster_client.api.observe import create_trace, list_traces
from yardmaster_client.api.orgs import create_org, delete_org, update_org
from yardmaster_client.api.people import log_in
from yardmaster_client.api.system import get_health
from yardmaster_client.api.tokens import exchange_credential
from yardmaster_client.models import (
    ApiKeyWithSecret,
    Box,
    BoxCreate,
    BoxUpdate,
    ChatCompletion,
    ChatMessage,
    ChatMessageRole,
    ChatRequest,
    DeskToken,
    GatewayError,
    Health,
    Incident,
    IncidentCreate,
    IncidentUpdate,
    IncidentUpdateState,
    KeyCreate,
    LogIn,
    ModelList,
    NewSession,
    Org,
    OrgCreate,
    OrgUpdate,
    RegisteredBox,
    StackflowError,
    StockyardError,
    StoutError,
    TraceCreate,
    TraceList,
    TraceRecorded,
)
from yardmaster_client.types import Unset

Expected = TypeVar("Expected")
Told = dict[str, object]


def got(answer: object, kind: type[Expected]) -> Expected:
    """The answer, which must be of this kind."""
    if not isinstance(answer, kind):
        raise TypeError(f"{answer!r} is no {kind.__name__}")
    return answer


def gateway(base: str, key: str) -> Told:
    """A key of one's own, whose name is taken when none is sent, then a model asked with it."""
    caller = AuthenticatedClient(base_url=base, token=key)
    taken = got(create_my_key.sync(client=caller), StockyardError)
    made = got(create_my_key.sync(client=caller, body=KeyCreate(name="python", scopes="gateway")), ApiKeyWithSecret)
    caller = AuthenticatedClient(base_url=base, token=made.key)
    models = got(list_models.sync(client=caller), ModelList)
    said = ChatMessage(role=ChatMessageRole.USER, content="Hello")
    asked = ChatRequest(model="sandbox", messages=[said])
    answer = got(create_chat_completion.sync(client=caller, body=asked), ChatCompletion)
    return {
        "name": made.name if taken.error.code == "conflict" else "",
        "models": len(models.data),
        "said": got(answer.choices[0].message.content, str),
    }


def traces(base: str, key: str) -> Told:
    """Three calls recorded, then read one to a page, by cursor."""
    caller = AuthenticatedClient(base_url=base, token=key)
    for number in range(3):
        body = TraceCreate(operation="chat.completion", project="python", id=f"python-{number}")
        got(create_trace.sync(client=caller, body=body), TraceRecorded)
    page = got(list_traces.sync(client=caller, project="python", limit=1), TraceList)
    seen = [trace.id for trace in page.traces]
    while not isinstance(page.next_cursor, Unset):
        page = got(list_traces.sync(client=caller, project="python", limit=1, cursor=page.next_cursor), TraceList)
        seen += [trace.id for trace in page.traces]
    return {"total": page.total, "seen": seen}


def desk(base: str, session: NewSession) -> Told:
    """An incident: opened, read, changed, deleted, gone."""
    person = AuthenticatedClient(base_url=base, token=session.access_token)
    token = got(exchange_credential.sync(client=person), DeskToken)
    caller = AuthenticatedClient(base_url=base, token=token.access_token)
    opened = got(create_incident.sync(client=caller, body=IncidentCreate(short_description="It is down")), Incident)
    read = got(get_incident.sync(opened.id, client=caller), Incident)
    change = IncidentUpdate(state=IncidentUpdateState.IN_PROGRESS)
    changed = got(update_incident.sync(opened.id, client=caller, body=change), Incident)
    deleted = delete_incident.sync_detailed(opened.id, client=caller).status_code
    gone = got(get_incident.sync(opened.id, client=caller), StackflowError)
    return {"same": read == opened, "state": changed.state, "deleted": deleted, "gone": gone.code}


def fleet(base: str, session: NewSession) -> Told:
    """An org with a box in it: made, changed, deleted, gone."""
    caller = AuthenticatedClient(base_url=base, token=session.access_token)
    org = got(create_org.sync(client=caller, body=OrgCreate(name="Python", slug="python")), Org)
    renamed = got(update_org.sync(org.id, client=caller, body=OrgUpdate(name="Python clients")), Org)
    box = got(create_box.sync(org.id, client=caller, body=BoxCreate("bench-1", "192.0.2.17")), RegisteredBox).box
    moved = got(update_box.sync(org.id, box.id, client=caller, body=BoxUpdate(ip_address="2001:db8::17")), Box)
    ended = [delete_box.sync_detailed(org.id, box.id, client=caller).status_code]
    gone = got(get_box.sync(org.id, box.id, client=caller), StoutError)
    ended.append(delete_org.sync_detailed(org.id, client=caller).status_code)
    if renamed.name != "Python clients" or not isinstance(box.id, UUID):
        raise ValueError(f"{renamed} or {box.id!r} is not as it should be")
    return {"at": moved.ip_address, "ended": ended, "gone": gone.status_code}


def refused(base: str) -> Told:
    """A key that is none."""
    caller = AuthenticatedClient(base_url=base, token="sy_" + "x" * 43)
    answer = list_models.sync_detailed(client=caller)
    return {"status": answer.status_code, "code": got(answer.parsed, GatewayError).error.code}


def main(asked: dict[str, str]) -> None:
    """All of it."""
    base = asked["base"]
    healthy = got(get_health.sync(client=Client(base_url=base)), Health)
    entering = LogIn(email=asked["email"], password=asked["password"])
    session = got(log_in.sync(client=Client(base_url=base), body=entering), NewSession)
    told = {
        "health": str(healthy.status),
        "gateway": gateway(base, asked["user_key"]),
        "traces": traces(base, asked["admin_key"]),
        "desk": desk(base, session),
        "fleet": fleet(base, session),
        "refused": refused(base),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
