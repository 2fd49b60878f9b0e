"""Prompt pad: a prompt kept on the server under a name, put before the conversation by who asks for it."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from app.gateway.exchange import Exchange
from app.gateway.modules.bodies import with_system
from app.gateway.steps import Module, Steps
from app.problems import Problem

VARIABLE: Final = re.compile(r"\{\{\s{0,3}([A-Za-z0-9_.-]{1,64})\s{0,3}\}\}")
VERSION_DIGITS: Final = 12
NAME: Final = "promptpad"
WANTED, FILLED = "x-template", "x-template-vars"


class Promptpad(Module):
    """Inline templates; several of one name are drawn by their weights."""

    COUNTS = ("rendered", "refused")

    def steps(self, settings: Mapping[str, Any]) -> Steps:
        """Templates by name."""
        known: dict[str, list[Mapping[str, Any]]] = {}
        for template in settings["templates"]:
            known.setdefault(template["name"], []).append(template)
        versions = {template["content"]: version_of(template["content"]) for template in settings["templates"]}

        def request(exchange: Exchange) -> None:
            headers = exchange.call.headers
            if not (name := headers.get(WANTED)):
                return
            if name not in known:
                self.counted["refused"] += 1
                raise Problem(404, "There is no template of that name", details={"param": "X-Template"})
            content = _drawn(known[name])["content"]
            text = _rendered(content, _variables(headers.get(FILLED, "")))
            self.counted["rendered"] += 1
            exchange.body = with_system(exchange.body, text)
            exchange.details |= {"template": name, "template_version": versions[content]}

        return Steps(request=request)


def version_of(content: str) -> str:
    """What tells one text of a template from another, wherever it stands in the settings."""
    return sha256(content.encode("utf-8", "replace")).hexdigest()[:VERSION_DIGITS]


def _drawn(templates: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    weights = [template["weight"] for template in templates]
    return random.choices(templates, weights)[0] if any(weights) else templates[0]  # noqa: S311 (a share of calls)


def _variables(text: str) -> dict[str, str]:
    """`name=value,…`; a comma ends a value."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _rendered(content: str, given: Mapping[str, str]) -> str:
    """The text with its variables; Problem 400 names those that were not given."""
    missing = sorted({name for name in VARIABLE.findall(content) if name not in given})
    if missing:
        told = {"param": "X-Template-Vars", "missing": missing}
        raise Problem(400, f"The template needs {', '.join(missing)}", details=told)
    return VARIABLE.sub(lambda found: given[found[1]], content)
