"""How users, their API keys and their provider keys are shown. No view knows a secret."""

from __future__ import annotations

from marshmallow.fields import Integer, String

from models.views import View
from models.views.fields import Timestamp


class UserView(View):
    """A user."""

    id = Integer()
    email = String()
    name = String()
    tier = String()
    created_at = Timestamp()


class ApiKeyView(View):
    """A key, by its first and last characters only."""

    id = Integer()
    user_id = Integer()
    key_prefix = String()
    name = String()
    scopes = String()
    created_at = Timestamp()
    expires_at = Timestamp()
    last_used = Timestamp()
    revoked_at = Timestamp()


class ProviderKeyView(View):
    """That a provider key is stored, and for which host; never the key."""

    id = Integer()
    user_id = Integer()
    provider = String()
    base_url = String()
    created_at = Timestamp()
