"""`GET /api/topics`: the events that managers emit, and the kinds of topics."""

from typing import Any

from edge.core.identity.access import Identity
from edge.http.permissions import Permissions
from relay.wire.contracts import CONTRACTS
from relay.wire.kinds import Kind, Kinds
from relay.wire.schema_export import data_schema
from relay.wire.topics import EVENT, PERSONAL_KINDS, RESOURCE_MONITOR, TASK, Pattern

_MEANINGS = {
    EVENT: ("event:{event_name}", "Something happened."),
    RESOURCE_MONITOR: (
        "resource-monitor:{server_name}",
        "The newest reading of a server's CPU and memory.",
    ),
    TASK: ("task:{task_id}", "The state of a task, pushed to the user who started it."),
}


def registered_events() -> list[dict[str, Any]]:
    """Return topic, meaning and JSON schema of each event that has a model."""
    return [
        {
            "topic": each.topic,
            "meaning": each.description,
            "schema": data_schema(each),
        }
        for each in CONTRACTS
    ]


async def kinds_for(
    identity: Identity, kinds: Kinds, permissions: Permissions
) -> list[dict[str, Any]]:
    """Return those of `kinds` of whose topics the user may see any, or all if the application
    decides."""
    # Everybody has tasks of their own. Nobody uses the kind of addressed events by name.
    patterns = {
        each.name: Pattern(f"{each.name}:", exact=False)
        for each in kinds.listed
        if each.name not in PERSONAL_KINDS
    }
    allowed = await permissions.allowed(identity, patterns.values())
    return [
        _described(each, None if permissions.asks else _may_publish(kinds, identity, each.name))
        for each in kinds.listed
        if each.name == TASK or patterns.get(each.name) in allowed
    ]


def _may_publish(kinds: Kinds, identity: Identity, kind: str) -> bool | None:
    """Return whether the user may publish on topics of `kind`; None on some of them only."""
    allowed = kinds.publishable(identity.roles, identity.username, kind)
    if not allowed:
        return False
    return True if Pattern(f"{kind}:", exact=False) in allowed else None


def _described(kind: Kind, may_publish: bool | None) -> dict[str, Any]:
    topic, meaning = _MEANINGS.get(kind.name, (f"{kind.name}:{{name}}", ""))
    return {
        "kind": kind.name,
        "topic": topic,
        "meaning": meaning,
        "mode": "stream" if kind.is_stream else "live",
        "may_publish": may_publish,
        "presence": kind.presence,
    }
