"""The roles of the service desk: which there are, who does what, and which of them a role may hand on to a key."""

from __future__ import annotations

from collections.abc import Mapping

SUPER_ADMIN, MANAGER, AGENT, SERVICE = "super_admin", "itsm_manager", "itsm_agent", "service_account"
CLOUD_ADMIN, AI_ENGINEER, DEVELOPER, VIEWER = "cloud_admin", "ai_engineer", "developer", "viewer"
DESK_ROLES = frozenset({SUPER_ADMIN, CLOUD_ADMIN, MANAGER, AGENT, AI_ENGINEER, DEVELOPER, VIEWER, SERVICE})
# A key's role may do nothing that its owner's may not.
DESK_GRANTS: Mapping[str, frozenset[str]] = {
    SUPER_ADMIN: DESK_ROLES,
    MANAGER: frozenset({MANAGER, AGENT, SERVICE, VIEWER}),
    AGENT: frozenset({AGENT, VIEWER}),
    CLOUD_ADMIN: frozenset({CLOUD_ADMIN, VIEWER}),
    AI_ENGINEER: frozenset({AI_ENGINEER, VIEWER}),
    DEVELOPER: frozenset({DEVELOPER, VIEWER}),
    SERVICE: frozenset({SERVICE, VIEWER}),
    VIEWER: frozenset({VIEWER}),
}
