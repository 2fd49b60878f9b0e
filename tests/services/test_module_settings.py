"""Merging settings: the rules of RFC 7396, whatever is merged."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.services.module_settings import merged, with_secrets, without_secrets

NAMES = st.sampled_from("abc")
LEAVES = st.integers() | st.text(max_size=3) | st.booleans()
PLAIN = st.recursive(LEAVES | st.lists(LEAVES, max_size=2), lambda inner: st.dictionaries(NAMES, inner, max_size=3))
SETTINGS = st.dictionaries(NAMES, PLAIN, max_size=3)
PATCHES = st.dictionaries(NAMES, PLAIN | st.none(), max_size=3)
SCHEMA = {
    "properties": {
        "keys": {"items": {"properties": {"name": {"type": "string"}, "key": {"writeOnly": True}}}},
        "ttl": {"type": "string"},
    }
}


@given(SETTINGS)
def test_merging_nothing_changes_nothing(held: dict[str, Any]) -> None:
    """And merging what is held already does not either."""
    assert merged(held, {}) == held == merged(held, held) == merged({}, held)


@given(SETTINGS, PATCHES)
def test_a_patch_decides_its_keys_and_no_others(held: dict[str, Any], patch: dict[str, Any]) -> None:
    """What is sent holds, null removes, and every other key stays as it was."""
    result = merged(held, patch)
    untouched = held.keys() - patch.keys()
    assert {name: result[name] for name in untouched} == {name: held[name] for name in untouched}
    for name, value in patch.items():
        if value is None:
            assert name not in result
        elif not isinstance(value, dict):
            assert result[name] == value
    assert merged(result, patch) == result


def test_nested_objects_merge_and_lists_replace() -> None:
    """The example of the RFC, in short."""
    held = {"a": {"b": 1, "c": [1, 2]}, "d": 4}
    assert merged(held, {"a": {"c": [3], "b": None}, "d": {"e": 5}}) == {"a": {"c": [3]}, "d": {"e": 5}}
    assert held == {"a": {"b": 1, "c": [1, 2]}, "d": 4}


def test_secrets_are_found_inside_lists() -> None:
    """A key of a pool is as secret as one at the top."""
    config = {"keys": [{"name": "one", "key": "s1"}, {"name": "two", "key": "s2"}], "ttl": "1h"}
    sealed = with_secrets(SCHEMA, config, str.upper)
    assert [key["key"] for key in sealed["keys"]] == ["S1", "S2"]
    assert without_secrets(SCHEMA, config) == {"keys": [{"name": "one"}, {"name": "two"}], "ttl": "1h"}
    assert with_secrets(SCHEMA, sealed, str.lower) == config
