"""Facts about the catalogue of gateway modules: what it promises to list, and that every entry can be trusted."""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.gateway.modules.catalogue import (
    CATALOGUE,
    DATA,
    Catalogue,
    canonical,
    complete_config,
    defaults,
    parse_duration,
    validate_config,
)
from app.gateway.modules.registry import MAKERS
from app.services.observing.switched import BESIDE, OBSERVERS
from app.services.webhooks import EVENTS
from app.wire.wording import dotted, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

CHAIN = """
ipfence rateshield keypool tenantwall promptguard secretscan tokentrim contextpack chatmem promptpad idlekill
cachelayer logging spend costcap usagepulse modelswitch multicall anthrofit mockllm failover evalgate toxicfilter
trust_enforce tracelink streamsnap llmtap compliancelog alertpulse retrypilot
"""
OPTIONAL = """
promptslim promptlint approvalgate contextwindow tierdrop abrouter langbridge geminishim localsync regionroute
agentguard devproxy driftwatch codefence hallucicheck guardrail agegate outputcap voicebridge imageproxy feedbackloop
maskmode embedcache structuredshield
"""
FURTHER = """
chainforge cronllm webhookrelay billsync whitelabel trainexport synthgen diffprompt llmbench tokenmarket llmsync
clustermode encryptvault mirrortest authgate scopeguard consentgate promptchain personaswitch summarizegate
costpredict spotprice semanticcache partialcache streamcache modelalias canarydeploy paramnorm quotasync errornorm
streamthrottle streamtransform streamsplit extractml tableforge codelang toolrouter toolshield toolmock visionproxy
audioproxy docparse framegrab sessionstore convofork slotfill promptfuzz promptmarket loadforge snapshottest chaosllm
datamap retentionwipe policyengine costmap cohorttrack promptrank anomalyradar proxylog envsync clidash embedrouter
finetunetrack agentreplay warmpool edgecache queuepriority geoprice tokenauction playbackstudio webhookforge
"""
NAMES = frozenset(f"{CHAIN} {OPTIONAL} {FURTHER}".split())
ALIASES = {
    "cache": "cachelayer",
    "ratelimit": "rateshield",
    "caps": "costcap",
    "fallbackrouter": "failover",
    "validation": "structuredshield",
    "retry": "retrypilot",
}
STATES = dict.fromkeys([*MAKERS, *OBSERVERS, *BESIDE], "off") | {
    "authgate": "required",
    "spend": "required",
    "rateshield": "on",
    "retrypilot": "on",
    "failover": "on",
    "modelalias": "on",
    "logging": "on",
    "cachelayer": "off",
    "costcap": "on",
    "usagepulse": "on",
    "queuepriority": "off",
    "keypool": "off",
    "encryptvault": "off",
    "trust_enforce": "on",
}
EVERY_MODULE = pytest.mark.parametrize("name", sorted(CATALOGUE))


def state(name: str) -> str:
    """A module's state on a fresh server, in one word."""
    entry = CATALOGUE[name]
    words = {(True, True, True): "required", (True, True, False): "on", (True, False, False): "off"}
    return words.get((entry.implemented, entry.enabled, entry.required), "planned")


def parts(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema, with its path."""
    yield path, schema
    inner = schema.get("properties", {}) | {key: schema.get(key) for key in ("items", "additionalProperties")}
    for name, part in inner.items():
        if isinstance(part, dict):
            yield from parts(part, f"{path}.{name}")


def is_bounded(schema: dict[str, Any]) -> bool:
    """Whether a client cannot send more of it than we are ready for."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    bounds = {
        "string": {"maxLength"} if "enum" not in schema else {"enum"},
        "integer": {"minimum", "maximum"},
        "number": {"minimum", "maximum"},
        "array": {"maxItems", "items"},
        "object": {"properties"} if "properties" in schema else {"maxProperties", "propertyNames"},
        "boolean": set[str](),
    }
    return all(bounds[kind] <= schema.keys() for kind in kinds)


def test_every_module_of_the_contract_is_known() -> None:
    """A client that toggles a module by its documented name never gets a 404."""
    assert set(CATALOGUE) == NAMES
    assert len(CATALOGUE) == 125


def test_no_name_is_given_twice() -> None:
    """A second entry or alias of the same name would silently replace the first."""
    texts = [file.read_text() for file in DATA.glob("*.yaml")]
    written = [name for text in texts for name in re.findall(r"^([a-z_]+):", text, re.MULTILINE)]
    aliases = [alias for entry in CATALOGUE.values() for alias in entry.aliases]
    assert [name for name, count in Counter(written + aliases).items() if count > 1] == []


def test_an_alias_means_the_public_name() -> None:
    """Both of a module's names work, and answers carry the public one."""
    assert {alias: canonical(alias) for alias in ALIASES} == ALIASES
    assert {alias for entry in CATALOGUE.values() for alias in entry.aliases} == set(ALIASES)
    assert all(canonical(name) == name for name in CATALOGUE)
    assert canonical("nosuchmodule") is None


def test_the_catalogue_says_honestly_what_runs() -> None:
    """A module is called implemented only when calls pass through it: this list grows with the code."""
    assert {name: state(name) for name in CATALOGUE if state(name) != "planned"} == STATES


def test_what_is_planned_is_off() -> None:
    """Nothing may look switched on that does nothing."""
    planned = [entry for entry in CATALOGUE.values() if not entry.implemented]
    assert not any(entry.enabled or entry.required for entry in planned)


def test_modules_are_listed_by_priority() -> None:
    """The order of the listing is part of the contract."""
    ranks = [(entry.priority, entry.name) for entry in CATALOGUE.values()]
    assert ranks == sorted(ranks)


def test_a_category_has_its_own_band_of_priorities() -> None:
    """Sorting by priority keeps a category together, so a priority belongs to few categories."""
    bands: dict[str, set[int]] = {}
    for entry in CATALOGUE.values():
        bands.setdefault(entry.category, set()).add(entry.priority // 10)
    assert {category for category, tens in bands.items() if len(tens) > 1} == set()


@EVERY_MODULE
def test_a_module_says_what_it_is_for(name: str) -> None:
    """A person choosing modules reads this one sentence."""
    description = CATALOGUE[name].description
    assert description.endswith(".")
    assert 30 <= len(description) <= 250


@EVERY_MODULE
def test_a_config_schema_is_closed_and_bounded(name: str) -> None:
    """A misspelt setting is refused and no setting can grow without end."""
    schema = CATALOGUE[name].config_schema
    jsonschema_rs.meta.validate(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for path, part in parts(schema):
        assert is_bounded(part), path
        assert "properties" not in part or part["additionalProperties"] is False, path


@EVERY_MODULE
def test_every_setting_is_explained_and_has_a_default(name: str) -> None:
    """A module can be switched on without reading anything else first; only list items have required fields."""
    schema = CATALOGUE[name].config_schema
    assert schema["properties"]
    assert all("default" in part for part in schema["properties"].values())
    for path, part in parts(schema):
        for setting, inner in part.get("properties", {}).items():
            assert inner["description"].endswith("."), f"{path}.{setting}"
            assert ("default" in inner) != (setting in part.get("required", [])), f"{path}.{setting}"


@EVERY_MODULE
def test_defaults_are_a_valid_config(name: str) -> None:
    """What the server starts with is something it would accept."""
    assert validate_config(name, defaults(name)) == []


def test_defaults_are_nobodys_shared_state() -> None:
    """Changing one copy must not change every module configured after it."""
    defaults("failover")["circuit_breaker"]["failure_threshold"] = 1
    assert defaults("failover")["circuit_breaker"]["failure_threshold"] == 5


def test_a_config_is_completed_inside_objects_and_lists() -> None:
    """A caller who sets one field of a group keeps the defaults of the others."""
    assert complete_config("failover", {"circuit_breaker": {"failure_threshold": 2}}) == defaults("failover") | {
        "circuit_breaker": {"failure_threshold": 2, "recovery_timeout": "30s"}
    }
    alias = {"alias": "fast", "model": "gpt-4o-mini"}
    assert complete_config("modelalias", {"aliases": [alias]}) == {"aliases": [alias | {"provider": ""}]}


@pytest.mark.parametrize(
    ("name", "config", "issue"),
    [
        ("retrypilot", {"max_retries": 11}, "max_retries must be at most 10"),
        ("retrypilot", {"max_delay": "soon"}, "max_delay must be a valid duration such as 500ms, 30s, 5m, 1h or 7d"),
        ("retrypilot", {"retries": 1}, "retries is not a known field"),
        ("modelalias", {"aliases": [{"alias": "a"}]}, "aliases[0].model is required"),
        ("failover", {"circuit_breaker": {"failure_threshold": 0}}, "circuit_breaker.failure_threshold must be at "),
        ("rateshield", {"per": "planet"}, "per must be one of api_key or user or project or ip"),
        ("webhookforge", {"templates": {"key.gone": "x"}}, "templates has a field whose name is not allowed"),
        ("secretscan", {"custom": ["("]}, "custom[0] must be a valid regex"),
        ("alertpulse", [], " must be of type object"),
    ],
)
def test_an_invalid_config_is_refused_with_its_place(name: str, config: Any, issue: str) -> None:
    """A person who mistypes a setting is told which, and what it takes."""
    [found] = validate_config(name, config)
    assert f"{dotted(found.path)} {plain(found)}".startswith(issue)


def test_an_issue_stands_where_the_config_stood() -> None:
    """The path leads from the request's body to the setting."""
    [found] = validate_config("retrypilot", {"max_retries": -1}, ("body", "config"))
    assert found.path == ("body", "config", "max_retries")


def test_an_issue_never_repeats_what_was_sent() -> None:
    """A key pasted into the wrong setting must not end in a log or an answer."""
    secret = "sk-" + "x" * 600
    config = {"strategy": secret, "cooldown": secret, "keys": [{"name": "a", "provider": "b", "key": secret}]}
    found = validate_config("keypool", config)
    assert len(found) == 4
    assert secret not in repr(found)
    assert secret not in " ".join(map(plain, found))


def test_provider_keys_in_a_config_are_marked_secret() -> None:
    """The control plane hides what is marked; a key that is not marked would be shown."""
    assert CATALOGUE["keypool"].config_schema["properties"]["keys"]["items"]["properties"]["key"]["writeOnly"] is True


def test_a_template_may_be_set_for_every_event() -> None:
    """And for no other: whoever mistypes one is told, and does not wait for it in vain."""
    names = CATALOGUE["webhookforge"].config_schema["properties"]["templates"]["propertyNames"]["enum"]
    assert sorted(names) == sorted(EVENTS)


def test_an_unknown_module_has_no_config() -> None:
    """Callers resolve names first; a slip must not pass as valid."""
    with pytest.raises(KeyError):
        validate_config("nosuchmodule", {})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("90s", 90), ("1.5m", 90), ("1h", 3600), ("7d", 604_800), (300, 300), (0.25, 0.25), ("0s", 0)],
)
def test_a_duration_is_read_in_every_form(text: str | float, seconds: float) -> None:
    """Durations are written as people write them; a bare number is seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "1 h", "1h30m", "1s\n", "1.5d", -1, True, float("nan"), 1e12])
def test_what_is_no_duration_is_refused(text: Any) -> None:
    """A wait must never be guessed."""
    with pytest.raises(ValueError, match=r"duration|seconds"):
        parse_duration(text)


@given(st.one_of(st.text(max_size=12), st.from_regex(r"[0-9.]{1,8}(ms|s|m|h|d)\n?"), st.floats(), st.integers()))
def test_a_duration_the_schema_accepts_can_be_read(value: Any) -> None:
    """What passes validation never fails later, in the middle of a call, and the reverse."""
    accepted = validate_config("retrypilot", {"max_delay": value}) == []
    try:
        read = parse_duration(value) >= 0
    except ValueError:
        read = False
    assert accepted == read


def test_the_catalogue_loads_at_once() -> None:
    """It is read while the server starts, which has three seconds for everything."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert len(Catalogue()) == len(CATALOGUE)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1


def test_a_setting_of_an_earlier_release_is_passed_over() -> None:
    """An upgrade that dropped a setting must not keep the server from starting."""
    assert complete_config("rateshield", {"rpm": 5, "gone": 1}) == defaults("rateshield") | {"rpm": 5}
