"""The operator's collector of spans: OTLP over HTTP, in JSON (opentelemetry.io/docs/specs/otlp)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

import requests

TIMEOUT_S: Final = 10.0
VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
# What the specification says must not be sent again; everything else may pass.
HOPELESS: Final = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)


@dataclass(frozen=True, slots=True)
class Collector:
    """Where spans go, and what is said of their source. `contents`: prompts and answers are sent, too."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    resource: Mapping[str, str] = field(default_factory=dict)
    contents: bool = False

    def send(self, body: bytes) -> tuple[str, bool]:
        """Hand spans over: why they were not taken, empty when they were, and whether that is for good."""
        headers = {"Content-Type": "application/json", "User-Agent": "Yardmaster-Spans/0.1", **self.headers}
        try:
            answer = requests.post(self.url, body, headers=headers, timeout=TIMEOUT_S, allow_redirects=False)
        except requests.RequestException as error:
            return type(error).__name__, False
        if answer.ok and not answer.is_redirect:
            return "", False
        return f"the collector answered {answer.status_code}", answer.status_code in HOPELESS


def collector(environ: Mapping[str, str] = os.environ) -> Collector | None:
    """The collector the environment names, by OpenTelemetry's own variables; None when it names none."""
    own, base = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""), environ.get(VARIABLE, "")
    if not (own or base) or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    headers = _pairs(environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""))
    resource = {"service.name": "yardmaster", **_pairs(environ.get("OTEL_RESOURCE_ATTRIBUTES", ""))}
    if name := environ.get("OTEL_SERVICE_NAME"):
        resource["service.name"] = name
    contents = environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").lower() == "true"
    return Collector(own or f"{base.rstrip('/')}/v1/traces", headers, resource, contents)


def _pairs(text: str) -> dict[str, str]:
    """`key=value,…`, percent-encoded (W3C Baggage)."""
    parts = (part.partition("=") for part in text.split(",") if "=" in part)
    return {unquote(name.strip()): unquote(value.strip()) for name, _, value in parts if name.strip()}
