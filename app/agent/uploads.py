"""Sends the files a job left behind: announced, put where the server says, confirmed by hash."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import requests

from app.agent.link import Link

ODD = re.compile(r"[^A-Za-z0-9 ._+=@()/-]")
TRIES = 5
TIMEOUT_S = (10, 300)


def found(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    """The files below the folder that match a pattern, each once, links that lead out of it left alone."""
    top = folder.resolve()
    seen: set[Path] = set()
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.is_file() and path.resolve().is_relative_to(top) and path not in seen:
                seen.add(path)
                yield path


def upload(link: Link, job_id: str, folder: Path, path: Path) -> str:
    """Send a file; what went wrong, or nothing. A job that is over takes no more, which is no fault of the file."""
    name, size = name_of(folder, path), path.stat().st_size
    told = {"name": name, "contentType": _type_of(path), "sizeBytes": size, "sha256": _sha256(path)}
    said = ""
    for _ in range(TRIES):
        answer = link.post(f"/api/box/jobs/{job_id}/artifacts", told)
        if answer.status_code != HTTPStatus.CREATED:
            return _why(name, answer)
        given = answer.json()
        _put(given, path)
        confirmed = link.post(
            f"/api/box/jobs/{job_id}/artifacts/{given['artifact']['id']}/confirm",
            {"sha256": told["sha256"], "sizeBytes": size},
        )
        if confirmed.ok:
            return ""
        said = _why(name, confirmed)
    return said


def name_of(folder: Path, path: Path) -> str:
    """The file's name to the server: its path below the folder, in the letters that are taken there."""
    parts = ODD.sub("_", path.relative_to(folder).as_posix()).split("/")
    return "/".join("_" + part[1:] if part[0] in ". " else part for part in parts)[-200:].lstrip("/. ")


def _put(given: dict[str, Any], path: Path) -> None:
    """What comes of it is seen when it is confirmed: a break is tried again there."""
    try:
        with path.open("rb") as file:
            requests.request(
                given["method"], given["uploadUrl"], data=file, headers=given["headers"], timeout=TIMEOUT_S
            )
    except requests.RequestException:
        return


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _type_of(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _why(name: str, answer: requests.Response) -> str:
    try:
        return f"{name} was not uploaded: {answer.json()['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{name} was not uploaded: status {answer.status_code}"
