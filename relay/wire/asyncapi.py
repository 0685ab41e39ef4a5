"""The AsyncAPI document of `/ws`: a channel for each contract, the messages, and who may connect.

The text is AsyncAPI 3.0, for documentation and for generators of clients.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from relay.wire.calls import MAX_TIMEOUT_S
from relay.wire.contracts import Contract
from relay.wire.schema_export import data_schemas

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_STATUS: Schema = {"enum": ["success", "error"]}
_SECURITY: Schema = {
    "token": {
        "type": "httpApiKey",
        "name": "token",
        "in": "query",
        "description": "A token in the address.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "cookie": {
        "type": "httpApiKey",
        "name": "access_token_cookie",
        "in": "cookie",
        "description": "The cookie that signing in sets; its name has the edge's port behind it.",
    },
}
_ID: Schema = {"id": {"type": ["string", "number"]}}
_SESSION: dict[str, tuple[str, Schema, Schema]] = {
    "authenticate": (
        "A token as the first message, instead of one in the request.",
        {"token": {"type": ["string", "null"]}},
        _ID,
    ),
    "subscribe": (
        "Asks for the events of a topic, or of all topics that start with a prefix.",
        {"topic": _TEXT},
        _ID,
    ),
    "unsubscribe": ("Ends a subscription.", {"topic": _TEXT}, _ID),
    "publish": (
        "Emits an event, for those that may, or gives it to the application.",
        {"topic": _TEXT, "data": {}},
        {"type": _TEXT, "username": _TEXT, **_ID},
    ),
    "request": (
        "Has a method answered, by the application or by a manager.",
        {"method": _TEXT, **_ID},
        {
            "params": {},
            "timeout": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_TIMEOUT_S},
        },
    ),
}
"""Messages of clients: their meaning, their fields beside `action`, and those they may lack."""
_REPLY: Schema = {
    "name": "reply",
    "summary": "The answer to a message of the client.",
    "payload": {
        "type": "object",
        "required": ["status", "message"],
        "properties": {
            "status": _STATUS,
            "message": _TEXT,
            "code": {**_TEXT, "description": "Of an error: what went wrong."},
            "result": {"description": "Of a request: what the method returned."},
            "id": {},
        },
    },
}


class AsyncApiServer(NamedTuple):
    """Where clients connect."""

    host: str
    """With the port."""
    path: str = "/ws"
    is_secure: bool = False


def asyncapi(contracts: Iterable[Contract], server: AsyncApiServer, version: str) -> Schema:
    """Return the document, in which `version` is that of Event Relay."""
    listed = list(contracts)
    schemas, definitions = data_schemas(listed, "#/components/schemas/{model}")
    names = _names(listed)
    channels = {names[each.topic]: _channel(each, names[each.topic]) for each in listed}
    sent = {f"send_{name}": _operation(name, "send") for name in channels}
    messages = {
        names[each.topic]: _message(each, names[each.topic], schemas[each.topic]) for each in listed
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Event Relay",
            "version": version,
            "description": "Events for authenticated clients: subscribe to topics on one WebSocket"
            " connection. The address of a channel is the topic.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "edge": {
                "host": server.host,
                "pathname": server.path,
                "protocol": "wss" if server.is_secure else "ws",
                "security": [
                    {"$ref": f"#/components/securitySchemes/{scheme}"} for scheme in _SECURITY
                ],
            }
        },
        "channels": {**channels, "session": _session_channel()},
        "operations": {**sent, **_session_operations()},
        "components": {
            "messages": {**messages, **_session_messages()},
            "schemas": definitions,
            "securitySchemes": _SECURITY,
        },
    }


def _names(contracts: list[Contract]) -> dict[str, str]:
    """Return a name for each topic that can be a key of the document, by the topic."""
    taken = {"session", "reply", *_SESSION}
    names: dict[str, str] = {}
    for each in contracts:
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", each.topic).strip("_") or "all"
        while name in taken:
            name += "_"
        taken.add(name)
        names[each.topic] = name
    return names


def _channel(contract: Contract, name: str) -> Schema:
    channel: Schema = {
        "address": contract.topic,
        "title": contract.title,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }
    if contract.description:
        channel["description"] = contract.description
    if not contract.pattern.exact:
        # The rest of the topic is a parameter.
        channel["address"] = f"{contract.pattern.prefix}{{rest}}"
        channel["parameters"] = {"rest": {"description": "The rest of the topic."}}
    return channel


def _message(contract: Contract, name: str, data: Schema) -> Schema:
    topic: Schema = {"const": contract.topic} if contract.pattern.exact else _TEXT
    return {
        "name": name,
        "title": contract.title,
        "payload": {
            "type": "object",
            "required": ["type", "topic", "data", "source", "emitted_at"],
            "properties": {
                "type": _TEXT,
                "topic": topic,
                "data": data,
                "source": {**_TEXT, "description": "The name of the emitter."},
                "emitted_at": {"type": "integer", "description": "Unix time in milliseconds."},
                "offset": {
                    "type": "integer",
                    "description": "The number in the stream; live events have none.",
                },
                "stream": {"const": "addressed"},
                "retained": {
                    "const": True,
                    "description": "A state, not something that happened now.",
                },
            },
        },
    }


def _operation(name: str, action: str) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
    }


def _session_channel() -> Schema:
    return {
        "address": None,
        "title": "The session",
        "description": "Messages about the connection itself, which belong to no topic.",
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in (*_SESSION, "reply")
        },
    }


def _session_operations() -> Schema:
    channel = {"$ref": "#/channels/session"}
    return {
        name: {
            "action": "receive",
            "channel": channel,
            "summary": summary,
            "messages": [{"$ref": f"#/channels/session/messages/{name}"}],
            "reply": {
                "channel": channel,
                "messages": [{"$ref": "#/channels/session/messages/reply"}],
            },
        }
        for name, (summary, *_) in _SESSION.items()
    }


def _session_messages() -> Schema:
    messages = {
        name: {
            "name": name,
            "summary": summary,
            "payload": {
                "type": "object",
                "required": ["action", *needed],
                "properties": {"action": {"const": name}, **needed, **optional},
            },
        }
        for name, (summary, needed, optional) in _SESSION.items()
    }
    return {**messages, "reply": _REPLY}
