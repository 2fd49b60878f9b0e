"""Probes: one cheap authenticated question to a provider, and what its answer says of its health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import requests

from app.gateway.config import Account
from app.gateway.providers.anthropic.wire import VERSION
from app.gateway.providers.openai.wire import headers
from app.gateway.wire import Kind, Target

ACTIVE, DEGRADED, UNREACHABLE = "active", "degraded", "unreachable"
TIMEOUT_S: Final = 5.0
# Where each wire lists its models; a base URL ends where that wire's official SDK ends it.
PATHS: Final[Mapping[str, str]] = {"anthropic": "/v1/models", "gemini": "/v1beta/models"}
OPENAI_PATH: Final = "/models"
NO_LIST: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
KEY_REFUSED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
HELLO: Final = {"model": "sandbox", "messages": [{"role": "user", "content": "ping"}]}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a provider did: `error` says what is wrong or could not be checked, never a key or an address."""

    status: str
    latency_ms: int
    error: str | None = None


def probe(account: Account) -> Verdict:
    """Ask a configured provider; takes five seconds for each part of the answer's head at most."""
    began = time.perf_counter()
    try:
        status = asyncio.run(_inside(account)) if account.provider.transport else _over_http(account)
    except (requests.Timeout, TimeoutError):
        return _verdict(began, UNREACHABLE, f"no answer within {TIMEOUT_S:g} s")
    except (requests.RequestException, OSError) as error:
        return _verdict(began, UNREACHABLE, _reason(error))
    except ValueError:
        return _verdict(began, UNREACHABLE, "its key or address cannot be sent as they are set")
    return _verdict(began, *judged(status))


def judged(status: int) -> tuple[str, str | None]:
    """The verdict on an HTTP status, and why."""
    if status in KEY_REFUSED:
        return DEGRADED, f"key not accepted ({status})"
    if status in NO_LIST:
        return ACTIVE, f"it has no list of models ({status}), so its key was not checked"
    if status >= HTTPStatus.MULTIPLE_CHOICES:
        return DEGRADED, f"it answered {status}"
    return ACTIVE, None


def address(provider: str, base_url: str) -> str:
    """Where the models are listed. A query stays last (Azure's `api-version`); a deployment's path is left off."""
    base, mark, query = base_url.partition("?")
    base = base.partition("/deployments/")[0].rstrip("/")
    return f"{base}{PATHS.get(provider, OPENAI_PATH)}{mark}{query}"


def _over_http(account: Account) -> int:
    sent = headers(account.provider, account.key, False)
    sent |= {"anthropic-version": VERSION} if account.provider.name == "anthropic" else {}
    with requests.Session() as session:
        session.trust_env = False  # a .netrc would replace the key, a proxy variable would see it
        with session.get(
            address(account.provider.name, account.base_url),
            headers=sent,
            timeout=TIMEOUT_S,
            allow_redirects=False,
            stream=True,
        ) as response:
            return response.status_code


async def _inside(account: Account) -> int:
    """A provider of this process is asked for a short completion."""
    provider = account.provider
    if provider.transport is None:
        raise ValueError(f"{provider.name} is not in this process")
    target = Target(provider, account.base_url, str(HELLO["model"]), account.key)
    async with asyncio.timeout(TIMEOUT_S):
        response = await provider.transport(provider.wire.outgoing(Kind.CHAT, dict(HELLO), target))
        try:
            await response.read()
            return response.status
        finally:
            await response.close()


def _verdict(began: float, status: str, error: str | None) -> Verdict:
    return Verdict(status, round((time.perf_counter() - began) * 1000), error)


def _reason(error: Exception) -> str:
    """The kind of failure only: its text may hold the address."""
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not accepted"
    return "cannot connect" if isinstance(error, (requests.ConnectionError, OSError)) else "it answered no HTTP"
