"""One's own account in the fleet: registering, sessions, password, second factor, SSH keys, invitations."""

from __future__ import annotations

from typing import Any

from app.http import Answer, caller, cookie, created, device, forgetting, keeping, page, transact
from app.problems import Issue, Problem, conflict, invalid, unauthorized
from app.runtime import runtime
from app.security import passwords
from app.security.credentials import REFRESH_COOKIE, SESSION_COOKIE
from app.security.tokens import ACCESS, LIFETIME_S
from app.services import accounts, audit, joining, mfa, one_time, people, recovery, sessions, ssh_keys
from app.services.people import Entered, NewPerson
from app.services.sessions import Tokens
from app.wire.pages import Listing
from models.identity import User
from models.sessions import RefreshSession, SshKey
from models.views.account import AccountView, SessionView, SshKeyView
from models.views.fields import rfc3339

Json = dict[str, Any]

show_account = AccountView().dump


def register_user(body: Json) -> Answer:
    """Make an account and open its first session."""
    token = body.get("invitationToken")
    if token is None and not caller().is_admin:
        joining.refuse_strangers()
    secrets = runtime().secrets
    newcomer = NewPerson(body["email"], body["displayName"], passwords.hashed(body["password"]))
    with transact():
        user = joining.join_as(newcomer, token, secrets) if token else people.add(newcomer)
        entered = people.admit(user, device(), secrets)
        if not user.email_verified:
            people.ask_to_verify(user, secrets)
    return _signed_in(entered, status=201)


def complete_login(body: Json) -> Answer:
    """Sign in with a second factor; the try counts whether or not the code is right."""
    secrets, token = runtime().secrets, body["mfaToken"]
    with transact():
        user_id = one_time.attempt(token, one_time.MFA, secrets)
    if user_id is None:
        raise unauthorized("This sign-in has expired or was tried too often; start again")
    with transact():
        user = sessions.hold(user_id)
        people.refuse_inactive(user)
        if not mfa.passes(user, body["code"], secrets) or one_time.spend(token, one_time.MFA, secrets) is None:
            raise unauthorized("Invalid code")
        entered = people.admit(user, device(), secrets)
        browser = sessions.open_browser(user.id, secrets)
    return _signed_in(entered, browser)


def refresh_session(body: Json | None) -> Answer:
    """Exchange a refresh token; a second use ends every session of its user."""
    token = (body or {}).get("refreshToken") or cookie(REFRESH_COOKIE)
    if not token:
        raise sessions.refused()
    with transact():
        tokens = sessions.refresh(token, device(), runtime().secrets)
    if tokens.reused:
        raise sessions.refused()
    return Answer(_told(tokens), cookies=keeping(**{REFRESH_COOKIE: tokens.refresh}))


def log_out_everywhere() -> Answer:
    """End every session of the caller."""
    user_id = _me()
    sessions.end_all(user_id, sessions.LOGOUT)
    audit.note("auth.logout_all", "user", str(user_id))
    return Answer(None, 204, cookies=forgetting())


def update_me(body: Json) -> Json:
    """Change one's own name."""
    user = accounts.get_user(_me())
    if "displayName" in body:
        user.name = body["displayName"].strip()
        audit.note("user.update", "user", user.uid)
    return _shown(user)


def change_password(body: Json) -> None:
    """Choose another password; the session this is asked with goes on."""
    known = _proven(body["currentPassword"])
    hashed = passwords.hashed(body["newPassword"])
    with transact():
        user = people.unchanged(known)
        people.change_password(user, hashed, caller().session)
        audit.note("auth.password_change", "user", user.uid)


def verify_email(body: Json) -> Json:
    """Confirm an address."""
    user = people.confirm(body["token"], runtime().secrets)
    audit.note("user.verify", "user", user.uid, actor=user)
    return _shown(user)


def resend_verification() -> Json:
    """Mail a new token."""
    user = sessions.hold(_me())
    if user.email_verified:
        raise conflict("This address is confirmed already")
    people.ask_to_verify(user, runtime().secrets)
    return {"accepted": True}


def request_password_reset(body: Json) -> Json:
    """Mail a token to whoever has an account, and say nothing of who has."""
    recovery.mail_token(body["email"])
    return {"accepted": True}


def reset_password(body: Json) -> None:
    """Choose a new password by mail."""
    recovery.choose_password(body["token"], body["newPassword"])


def list_sessions(**window: Any) -> Json:
    """The caller's live sessions."""
    user = accounts.get_user(_me())
    family = caller().session

    def show(row: RefreshSession) -> Json:
        shown: Json = SessionView().dump(row)
        return shown | {"userId": user.uid, "current": row.family == family}

    return page(Listing(sessions.live_sessions(user.id), "items", show, (RefreshSession.id,)), **window)


def revoke_session(session_id: str) -> None:
    """End one of the caller's sessions."""
    user_id = _me()
    family = sessions.family_of(user_id, session_id)
    sessions.end_family(user_id, family)
    audit.note("auth.session_revoke", "session", family)


def set_up_mfa() -> Json:
    """A new secret for an authenticator app."""
    made = mfa.set_up(sessions.hold(_me()), runtime().secrets)
    return {"secret": made.secret, "otpauthUrl": made.url}


def enable_mfa(body: Json) -> Json:
    """Turn the second factor on."""
    user = sessions.hold(_me())
    codes = mfa.enable(user, body["code"], runtime().secrets)
    if codes is None:
        raise unauthorized("Invalid code")
    audit.note("auth.mfa_enable", "user", user.uid)
    return {"backupCodes": codes}


def disable_mfa(body: Json) -> None:
    """Turn the second factor off."""
    known = _proven(body["password"])
    with transact():
        user = people.unchanged(known)
        if not user.mfa_enabled:
            raise conflict("There is no second factor to disable")
        if not mfa.passes(user, body["code"], runtime().secrets):
            raise unauthorized("Invalid code")
        mfa.disable(user)
        audit.note("auth.mfa_disable", "user", user.uid)


def list_ssh_keys(**window: Any) -> Json:
    """The caller's SSH keys."""
    user = accounts.get_user(_me())
    return page(Listing(ssh_keys.of_user(user.id), "items", lambda row: _ssh_key(row, user), (SshKey.id,)), **window)


def create_ssh_key(body: Json) -> Answer:
    """Add an SSH key."""
    user = accounts.get_user(_me())
    row = ssh_keys.add(user.id, body["name"], body["publicKey"])
    audit.note("ssh_key.create", "ssh_key", row.uid, fingerprint=row.fingerprint)
    return created(_ssh_key(row, user), f"/api/auth/ssh-keys/{row.uid}")


def delete_ssh_key(ssh_key_id: str) -> None:
    """Remove an SSH key."""
    ssh_keys.remove(_me(), ssh_key_id)
    audit.note("ssh_key.delete", "ssh_key", ssh_key_id.lower())


def preview_invitation(token: str) -> Json:
    """What an invitation is to."""
    invited, org = joining.invitation(token, runtime().secrets)
    shown = {"orgName": org.name, "email": invited.email, "role": invited.role}
    return shown | {"expiresAt": rfc3339(invited.expires_at), "accountExists": people.find(invited.email) is not None}


def accept_invitation(token: str, body: Json | None) -> Answer:
    """Join an org: as who is signed in, or with a new account."""
    secrets = runtime().secrets
    newcomer = None if caller().kind == "stout" else _invited(token, body or {})
    with transact():
        if newcomer:
            user = joining.join_as(newcomer, token, secrets)
        else:
            user = sessions.hold(_me())
            joining.join(user, joining.invitation(token, secrets)[0])
        entered = people.admit(user, device(), secrets)
    return _signed_in(entered)


def _invited(token: str, body: Json) -> NewPerson:
    """Who is invited and has no account yet; Problem 410, 401 when they have one, 400 when something is missing."""
    with transact(write=False):
        invited, _ = joining.invitation(token, runtime().secrets)
        known = people.find(invited.email)
    if known:
        raise unauthorized("This address has an account; sign in, then accept the invitation")
    if missing := [Issue(("body", name), "required") for name in ("displayName", "password") if name not in body]:
        raise invalid(*missing)
    return NewPerson(invited.email, body["displayName"], passwords.hashed(body["password"]))


def _proven(password: str) -> User:
    """The calling user, when this is their password; a 401 Problem otherwise."""
    with transact(write=False):
        known = accounts.get_user(_me())
    return people.checked(known, password)


def _me() -> int:
    """The calling user; the document admits nobody else here."""
    user_id = caller().user_id
    if user_id is None:
        raise Problem(500, "An operation for users was asked by somebody who is none")
    return user_id


def _signed_in(entered: Entered, browser: str = "", status: int = 200) -> Answer:
    body = _told(entered.tokens) | {"user": _shown(entered.user)}
    cookies = keeping(**{SESSION_COOKIE: browser, REFRESH_COOKIE: entered.tokens.refresh})
    return Answer(body, status, cookies=cookies)


def _told(tokens: Tokens) -> Json:
    return {"accessToken": tokens.access, "refreshToken": tokens.refresh, "expiresIn": LIFETIME_S[ACCESS]}


def _shown(user: User) -> Json:
    shown: Json = show_account(user)
    return shown


def _ssh_key(row: SshKey, user: User) -> Json:
    shown: Json = SshKeyView().dump(row)
    return shown | {"userId": user.uid}
