"""The chain as data says what the lane does: both are held together here, or the page about it would lie."""

from __future__ import annotations

from dataclasses import fields
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.chain import ORDER, STATS
from app.gateway.config import Config
from app.gateway.modules.catalogue import CATALOGUE
from app.gateway.modules.registry import LEAVING, MAKERS, OUTGOING, RULES
from app.gateway.providers import builtin_rules, provider_for_model
from app.services.observing.figures import SHOWN
from app.services.observing.switched import BESIDE, OBSERVERS
from app.spec.join import bundle
from support.callers import Client

QUESTION = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
PARTS = ("before", "request", "texts", "arguments", "vectors", "holds", "fits", "heard", "failures", "settlers")
PREFIXES = [glob.replace("*", "") for glob, _ in builtin_rules()]
MODELS = st.text(max_size=20) | st.lists(st.sampled_from([*PREFIXES, "/", "x", "-"]), max_size=4).map("".join)


def watched(config: Config, seen: list[str]) -> Config:
    """The configuration, noting which module is consulted."""

    class Watched(Config):
        def on(self, name: str) -> bool:
            seen.append(name)
            return self.modules[name].enabled

        def of(self, name: str) -> Any:
            seen.append(name)
            return self.modules[name].config

    return Watched(**{field.name: getattr(config, field.name) for field in fields(config)})


def test_modules_act_in_the_order_the_chain_says(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real call consults each module for the first time exactly there."""
    gateway, seen = client.application.runtime.gateway, []
    find = gateway.prices.find
    monkeypatch.setattr(type(gateway.prices), "find", lambda _, *asked: (seen.append("spend"), find(*asked))[1])
    hold = gateway.caps.hold  # the budgets of both modules are one table, made when their settings change
    monkeypatch.setattr(gateway.caps, "hold", lambda *asked: (seen.extend(("costcap", "usagepulse")), hold(*asked))[1])
    run = gateway.attempts.run  # places, keys and how patient to be are worked out when the settings change, too
    going = ("queuepriority", "keypool", "retrypilot")
    monkeypatch.setattr(gateway.attempts, "run", lambda *asked: (seen.extend(going), run(*asked))[1])
    kept = gateway.vault.kept  # so is what is sealed, and under which key
    monkeypatch.setattr(gateway.vault, "kept", lambda record: (seen.append("encryptvault"), kept(record))[1])
    gateway.config = watched(gateway.config, seen)
    assert client.user.post("/v1/chat/completions", json=QUESTION).status_code == 200
    assert list(dict.fromkeys(seen)) == [name for name in ORDER if name in STATS]


def test_compiled_steps_follow_the_order_of_the_chain() -> None:
    """Each module's part in a request is where the list says; a look at the answer alone comes after the provider."""
    assert [name for name in ORDER if name in MAKERS] == list(MAKERS)
    assert [name for name in MAKERS if name in LEAVING] == list(MAKERS)[-len(LEAVING) :]
    assert {*OUTGOING} - {RULES} <= set(MAKERS)
    assert set(LEAVING) <= {*OUTGOING}


def test_a_chain_without_enabled_steps_is_no_chain(client: Client) -> None:
    """What is off costs a call one question, whatever the number of modules."""
    gateway = client.application.runtime.gateway
    assert not gateway.chain.active
    assert all(not getattr(gateway.chain, part) for part in PARTS)
    assert not gateway.chain.whole


def test_authgate_acts_first(client: Client) -> None:
    """Whether a raw key may pass at all is asked before anything is counted."""
    gateway, seen = client.application.runtime.gateway, []
    gateway.config = watched(gateway.config, seen)
    client.bearing("sk-raw-0123456789abcdef").post("/v1/chat/completions", json=QUESTION)
    assert seen[0] == ORDER[0] == "authgate"


def test_what_is_implemented_is_in_the_chain() -> None:
    """And nothing else: a module outside it would be a toggle without effect."""
    assert set(ORDER) == {name for name, entry in CATALOGUE.items() if entry.implemented}
    assert set(STATS) == set(ORDER) - {"authgate", *OBSERVERS, *BESIDE} - set(MAKERS)
    assert set(SHOWN) == {*OBSERVERS, *BESIDE}


def test_the_document_knows_every_category() -> None:
    """A category added to the catalogue must be one clients can ask for."""
    documented = bundle()["components"]["schemas"]["ModuleCategory"]["enum"]
    assert sorted(documented) == sorted({entry.category for entry in CATALOGUE.values()})


def test_no_setting_is_called_like_a_field_of_the_request() -> None:
    """Settings may stand beside `enabled`, `priority` and `config`; one of that name could never be set there."""
    for name, entry in CATALOGUE.items():
        assert not {"enabled", "priority", "config"} & entry.config_schema["properties"].keys(), name


@given(MODELS)
def test_the_built_in_routes_lead_where_the_gateway_goes(model: str) -> None:
    """The list is made of globs, the gateway looks up prefixes: for every name they must agree."""
    led = next(provider for glob, provider in builtin_rules() if fnmatchcase(model, glob))
    assert led == provider_for_model(model)
