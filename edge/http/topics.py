"""`GET /api/topics`: the events that managers emit, and the kinds of topics."""

from typing import Any

from edge.core.identity.access import Access, Identity
from relay.wire.contracts import CONTRACTS
from relay.wire.kinds import Kind, Kinds
from relay.wire.schema_export import data_schema
from relay.wire.topics import ADDRESSED, EVENT, RESOURCE_MONITOR, TASK, Pattern, Topic

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


def kinds_for(identity: Identity, kinds: Kinds, access: Access) -> list[dict[str, Any]]:
    """Return those of `kinds` that the user may see."""
    seen = [each for each in kinds.listed if _may_see(identity, each.name, access)]
    return [_described(identity, each, access) for each in seen]


def _may_see(identity: Identity, kind: str, access: Access) -> bool:
    if kind in (TASK, ADDRESSED):
        # Everybody has tasks of their own. Nobody uses the other kind by name.
        return kind == TASK
    return bool(access.selectors(identity, Pattern(f"{kind}:", exact=False)))


def _described(identity: Identity, kind: Kind, access: Access) -> dict[str, Any]:
    topic, meaning = _MEANINGS.get(kind.name, (f"{kind.name}:{{name}}", ""))
    return {
        "kind": kind.name,
        "topic": topic,
        "meaning": meaning,
        "mode": "stream" if kind.is_stream else "live",
        "may_publish": access.may_publish(identity, Topic(f"{kind.name}:", kind.name)),
    }
