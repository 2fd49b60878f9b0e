"""People who sign in with a password: made in the database, and what they hold once signed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from http.cookies import SimpleCookie
from typing import Any

import httpx2 as httpx
from argon2 import PasswordHasher
from sqlalchemy import select, update

from app.security import passwords
from models.base import transaction
from models.identity import User
from models.mail import Mail
from support.callers import ORIGIN, Caller, Client

PASSWORD = "correct horse battery 1"


CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@cache
def _made(password: str, hasher: PasswordHasher) -> str:
    return hasher.hash(password)


def hashed(password: str) -> str:
    """The hash of a password under the parameters in force, made once in the whole run."""
    return _made(password, passwords._HASHER)


@dataclass(frozen=True, slots=True)
class Held:
    """What somebody holds of a session. `caller` sends the access token."""

    caller: Caller
    body: dict[str, Any] = field(repr=False)
    cookies: dict[str, str] = field(repr=False)

    @property
    def refresh(self) -> str:
        """The refresh token."""
        return str(self.body["refreshToken"])


class People:
    """Makes people, signs them in, and reads their mail."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.anonymous = client.anonymous
        self.engine = client.application.runtime.engine
        client._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # each request says its own

    def make(self, email: str = "ada@example.com", password: str = PASSWORD, **fields: Any) -> User:
        """Somebody with an account, verified unless told otherwise."""
        values = {"name": email.partition("@")[0].title(), "email_verified": True} | fields
        with transaction(self.engine) as session:
            user = User(email=email, password_hash=hashed(password), **values)
            session.add(user)
        return user

    def suspend(self, email: str) -> None:
        """Switch an account off, as an operator does."""
        with transaction(self.engine) as session:
            session.execute(update(User).where(User.email == email).values(is_active=False))

    def login(self, email: str = "ada@example.com", password: str = PASSWORD, **headers: str) -> httpx.Response:
        """The answer to signing in."""
        return self.anonymous.post("/api/auth/login", json={"email": email, "password": password}, headers=headers)

    def enter(self, email: str = "ada@example.com", password: str = PASSWORD) -> Held:
        """A session of somebody who has an account."""
        return self.holding(self.login(email, password))

    def holding(self, answer: httpx.Response) -> Held:
        """What an answer that opened a session gave."""
        assert answer.is_success, answer.text
        body = answer.json()
        return Held(self.client.bearing(body.get("accessToken", "")), body, cookies_of(answer))

    def refresh(self, token: str) -> httpx.Response:
        """The answer to a refresh."""
        return self.anonymous.post("/api/auth/refresh", json={"refreshToken": token})

    def by_cookie(self, value: str, origin: str = ORIGIN) -> Caller:
        """A browser with this session cookie, on a page of this origin."""
        return self.client.bearing(cookie=f"outsend_session={value}", origin=origin)

    def mails(self, email: str, kind: str = "") -> list[Mail]:
        """Mails to an address, oldest first."""
        with transaction(self.engine, write=False) as session:
            found = session.scalars(select(Mail).where(Mail.recipient == email).order_by(Mail.id)).all()
        return [mail for mail in found if not kind or mail.kind == kind]

    def token(self, email: str, kind: str) -> str:
        """The token in the newest mail of a kind."""
        return next(line for line in self.mails(email, kind)[-1].body.splitlines() if len(line) == 43)


def cookies_of(answer: httpx.Response) -> dict[str, str]:
    """The cookies an answer set, whole: `name → "value; Path=/; ..."`."""
    written = answer.headers.get_list("set-cookie")
    return {line.partition("=")[0]: line.partition("=")[2] for line in written}


def value_of(cookie: str) -> str:
    """The value of a cookie as set."""
    [morsel] = SimpleCookie("x=" + cookie).values()
    return morsel.value


Make = Callable[..., User]
