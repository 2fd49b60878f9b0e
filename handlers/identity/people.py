"""Signing up, in and out, and who one is: operations that clients of several systems call."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from app.http import Answer, caller, cookie, created, device, forgetting, keeping, page, transact
from app.problems import Problem, forbidden, unauthorized
from app.runtime import runtime
from app.security import passwords
from app.security.credentials import REFRESH_COOKIE, SESSION_COOKIE
from app.security.tokens import ACCESS, LIFETIME_S
from app.services import accounts, audit, joining, people, provider_keys, sessions
from app.services.people import Entered, NewPerson
from app.wire.pages import Listing
from models.base import session
from models.identity import ProviderKey
from models.orgs import Membership, Org
from models.views.account import AccountView, JobUserView, person
from models.views.auth import ApiKeyView, ProviderKeyView, UserView

Json = dict[str, Any]
OPEN_TIERS = frozenset({"free", "community"})
USAGE = (
    "Keep the key, it is shown this once. Send it as a bearer token, to this server's own address: "
    'curl "$YARDMASTER_URL/v1/chat/completions" -H "Authorization: Bearer $YARDMASTER_KEY" '
    """-H "Content-Type: application/json" -d '{"model": "sandbox", "messages": [{"role": "user", "content": "Hi"}]}'"""
)


def log_in(body: Json) -> Answer:
    """Sign in with a password, wholly or up to the second factor."""
    with transact(write=False):
        known = people.find(body["email"])
    try:
        user = people.checked(known, body["password"])
    except Problem:
        with transact():
            audit.note("auth.login_failed", "user", known.uid if known else None, actor=known, email=body["email"])
        raise
    rehashed = passwords.hashed(body["password"]) if passwords.outdated(user.password_hash or "") else None
    secrets = runtime().secrets
    with transact():
        entered = people.enter(user, device(), secrets, rehashed)
        browser = "" if entered.mfa_token else sessions.open_browser(entered.user.id, secrets)
    if entered.mfa_token:
        return Answer({"mfaRequired": True, "mfaToken": entered.mfa_token})
    return _signed_in(entered, browser)


def log_out(body: Json | None) -> Answer:
    """End the session this is asked with, and those its tokens and cookies name."""
    who, secrets = caller(), runtime().secrets
    if who.kind == "stout" and who.user_id is not None:
        sessions.end_family(who.user_id, who.session)
    token = (body or {}).get("refreshToken") or cookie(REFRESH_COOKIE)
    if token and (named := sessions.family_by_token(token, secrets)):
        sessions.end_family(*named)
    if value := cookie(SESSION_COOKIE):
        sessions.close_browser(value, secrets)
    if who.user_id is not None:
        audit.note("auth.logout", "session", who.session)
    return Answer({"ok": True}, cookies=forgetting())


def sign_up_user(body: Json) -> Answer:
    """Make an account: with a first key, or with a password and signed in."""
    return _sign_up_by_password(body) if "password" in body else _sign_up_by_key(body)


def get_me() -> Answer:
    """Who is asking, in the words of every system."""
    who = caller()
    user = accounts.get_user(who.user_id or 0)
    by_name = Listing(
        provider_keys.of_user(user.id), "providers", ProviderKeyView().dump, (ProviderKey.provider,), descending=False
    )
    mine = UserView().dump(user) | AccountView().dump(user) | {"id": user.uid if who.kind == "stout" else user.id}
    brought = page(by_name, limit=provider_keys.MAX_PROVIDERS)["providers"]
    body = JobUserView().dump(user) | {"user": mine, "providers": brought, "memberships": _memberships(user.id)}
    value = cookie(SESSION_COOKIE) if who.kind == "cookie" else None
    return Answer(body, cookies=keeping(**{SESSION_COOKIE: value or ""}))


def _sign_up_by_key(body: Json) -> Answer:
    plan, open_to_all = body.get("plan", "free"), runtime().settings.signup == "open"
    if not caller().is_admin:
        if not open_to_all and "invitation_code" not in body:
            raise unauthorized(f"{joining.INVITE_ONLY}, who makes one at POST /api/auth/users")
        _refuse_plan(plan)
    with transact():
        _spend_invitation(body)
        user, issued = accounts.add_user(body["email"], runtime().secrets, name=body.get("name"), tier=plan)
    told = ApiKeyView().dump(issued.row) | {"key": issued.key}
    shown = {"user": UserView().dump(user), "api_key": told, "usage": USAGE}
    return created(shown, f"/api/auth/users/{user.id}")


def _sign_up_by_password(body: Json) -> Answer:
    if not caller().is_admin:
        if "invitation_code" not in body:
            joining.refuse_strangers()
        _refuse_plan(body.get("plan", "free"))
    secrets = runtime().secrets
    newcomer = NewPerson(body["email"], body.get("name", ""), passwords.hashed(body["password"]))
    with transact():
        _spend_invitation(body)
        user = people.add(newcomer)
        user.tier = body.get("plan", "free")
        people.welcome(user)
        people.ask_to_verify(user, secrets)
        browser = sessions.open_browser(user.id, secrets)
    return Answer({"ok": True, "user": JobUserView().dump(user)}, cookies=keeping(**{SESSION_COOKIE: browser}))


def _spend_invitation(body: Json) -> None:
    """Use a stranger's invitation code up where one is needed."""
    if not caller().is_admin and runtime().settings.signup != "open":
        joining.spend_code(body["invitation_code"], runtime().secrets)


def _refuse_plan(plan: str) -> None:
    if plan not in OPEN_TIERS:
        raise forbidden(f"Only an operator can put an account on {plan}; sign up without a plan")


def _signed_in(entered: Entered, browser: str) -> Answer:
    tokens = entered.tokens
    body = {"ok": True, "user": person(entered.user), "accessToken": tokens.access, "refreshToken": tokens.refresh}
    cookies = keeping(**{SESSION_COOKIE: browser, REFRESH_COOKIE: tokens.refresh})
    return Answer(body | {"expiresIn": LIFETIME_S[ACCESS]}, cookies=cookies)


def _memberships(user_id: int) -> list[Json]:
    mine = select(Org, Membership.role).join(Membership, Membership.org_id == Org.id)
    held = session().execute(mine.where(Membership.user_id == user_id).order_by(Membership.id).limit(1000))
    return [
        {"org": {"id": org.uid, "name": org.name, "slug": org.slug, "isPersonal": org.is_personal}, "role": role}
        for org, role in held
    ]
