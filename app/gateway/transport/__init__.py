"""HTTP/1.1 to providers: pooled connections, exact cancellation, and no way to private addresses for what users name.

HTTP_PROXY and its kin are not read: which host a provider's key goes to is said in one place, its base URL.
"""

from __future__ import annotations

from app.gateway.transport.client import HttpTransport
from app.gateway.transport.response import HttpResponse

__all__ = ["HttpResponse", "HttpTransport"]
