"""`GET /api/topics`: the events that managers emit, and the kinds of topics."""

from typing import Any

from relay.wire.catalogue import CATALOGUE

TOPICS: dict[str, Any] = {
    "events": [
        {
            "topic": spec.topic,
            "meaning": spec.meaning,
            "schema": spec.model.model_json_schema(),
        }
        for spec in CATALOGUE.values()
    ],
    "kinds": [
        {"kind": "event", "topic": "event:{event_name}", "meaning": "Something happened."},
        {
            "kind": "resource-monitor",
            "topic": "resource-monitor:{server_name}",
            "meaning": "The newest reading of a server's CPU and memory.",
        },
        {
            "kind": "task",
            "topic": "task:{task_id}",
            "meaning": "The state of a task, pushed to the user who started it.",
        },
    ],
}
"""The reply as a whole."""
