"""How calls that wait for approval are shown."""

from __future__ import annotations

from marshmallow.fields import Boolean, Function, Integer, String

from models.views import View
from models.views.fields import Timestamp
from models.views.observe import dollars


class HeldCallView(View):
    """A call that was held; its cost and who decided are left out while nobody knows."""

    id = Integer()
    status = String()
    reason = String()
    rule = String()
    user_id = Integer()
    user_email = String(attribute="user.email")
    key_id = Integer()
    project = String()
    model = String()
    operation = String()
    stream = Boolean()
    cost_usd = Function(lambda held: dollars(held.cost_nano))
    preview = String()
    note = String()
    decided_by = Function(lambda held: held.decided_by or None)
    trace_id = String()
    request_id = String()
    created_at = Timestamp()
    expires_at = Timestamp()
    ended_at = Timestamp()
