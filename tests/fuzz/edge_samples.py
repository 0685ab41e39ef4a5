"""Valid traffic of an edge's clients, to be changed: requests of HTTP, and messages of `/ws`."""

import json
from collections.abc import Callable
from typing import Any

from tests.fuzz.http_changes import Header, HttpRequest
from tests.support.raw_http import KEY

RELAY_TOML = """\
[kinds.room]
mode = "stream"
subscribe = ["user"]
publish = ["user"]
presence = true

[kinds.chat]
subscribe = ["*"]
publish = ["user"]
presence = true

[methods.fuzz_method]
call = ["user"]
"""
"""The configuration of a live edge: so that all messages have an effect."""
USERS = 20
ROLES = ("user", "admin", "guest")

MESSAGES: tuple[dict[str, Any], ...] = (
    {"action": "subscribe", "topic": "event:fuzz", "id": 1},
    {"action": "subscribe", "topic": "room:1"},
    {"action": "subscribe", "topic": "*", "id": "all"},
    {"action": "subscribe", "topic": "chat:*", "id": 1.5, "last": 50},
    {"action": "subscribe", "topic": "event:*", "epoch": 1, "since": {"event": 5}, "id": 2},
    {"action": "subscribe", "topic": "room:*", "epoch": 1, "since": {"room": 5}, "more": True},
    {"action": "subscribe", "topic": "resource-monitor:x", "more": True, "id": 3},
    {"action": "subscribe", "topic": "presence:room:1", "id": 4},
    {"action": "subscribe", "topic": "presence:chat:1"},
    {"action": "subscribe", "topic": "task:7f3c", "id": 5},
    {"action": "unsubscribe", "topic": "room:1", "id": 6},
    {"action": "unsubscribe", "topic": "event:*"},
    {"action": "publish", "topic": "room:1", "data": {"text": "é", "n": [1, 2.5, None]}, "id": 7},
    {"action": "publish", "topic": "chat:1", "data": "hello", "type": "line"},
    {"action": "publish", "topic": "room:2", "data": 5, "username": "fuzz-1", "id": 8},
    {"action": "request", "method": "fuzz_method", "params": {"a": [1]}, "timeout": 0.1, "id": 9},
    {"action": "request", "method": "nobody", "id": 10},
    {"action": "authenticate", "id": 11},
    {"action": "authenticate", "token": "not a token"},
    {"action": "foo", "topic": "event:a", "id": 12},
)
TEXTS = tuple(json.dumps(each).encode() for each in MESSAGES)
POSITIONS = (b"1790000000000:event=5,room=7", b"1:", b"1790000000000:task=3,addressed=0")
EVENT = b'{"topic":"room:1","data":{"n":1}}'
EVENTS = (
    b'[{"topic":"room:1","data":1},{"topic":"chat:1","data":[],"type":"x","username":"fuzz-2"}]'
)

Tokens = Callable[[str, str], str]
"""Makes a token for a user and a role."""


class EdgeSamples:
    """Requests with valid tokens of an edge."""

    def __init__(self, token_for: Tokens, port: int) -> None:
        self.host = b"127.0.0.1:%d" % port
        self.tokens = [
            token_for(f"fuzz-{number}", ROLES[number % len(ROLES)]).encode()
            for number in range(USERS)
        ]
        self._leaver = token_for("fuzz-leaver", "user").encode()
        admin = next(each for number, each in enumerate(self.tokens) if number % len(ROLES) == 1)
        self.handshakes = self._handshakes(self.tokens[0])
        self.requests = self._operations() + self._api(self.tokens[0], admin)
        self.streams = self._streams(self.tokens[0])

    def handshake(self, token: bytes | None, *, deflate: bool = False) -> bytes:
        """Return a handshake that is right, with the token in its URL."""
        target = b"/ws" if token is None else b"/ws?token=" + token
        extra: tuple[Header, ...] = ()
        if deflate:
            extra = ((b"Sec-WebSocket-Extensions", b"permessage-deflate"),)
        return self._upgrade(target, *extra).pack()

    def _upgrade(self, target: bytes, *more: Header) -> HttpRequest:
        headers = (
            (b"Host", self.host),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", KEY.encode()),
            (b"Sec-WebSocket-Version", b"13"),
            *more,
        )
        return HttpRequest(b"GET", target, headers)

    def _handshakes(self, token: bytes) -> list[HttpRequest]:
        cookie = (b"Cookie", b"a=b; access_token_cookie=" + token)
        origin = (b"Origin", b"http://" + self.host)
        bearer = (b"Authorization", b"Bearer " + token)
        offered = (b"Sec-WebSocket-Protocol", b"event-relay, event-relay.bearer." + token)
        deflate = b"permessage-deflate; client_max_window_bits=15, permessage-deflate"
        return [
            self._upgrade(b"/ws"),
            self._upgrade(b"/ws?token=" + token),
            self._upgrade(b"/ws?epoch=1790000000000&task=77&addressed=12", bearer),
            self._upgrade(b"/ws", origin, cookie),
            self._upgrade(b"/ws", offered, (b"Sec-WebSocket-Extensions", deflate)),
            self._upgrade(
                b"/ws",
                (b"X-Forwarded-For", b"10.0.0.1, 127.0.0.1"),
                (b"X-Forwarded-Proto", b"https"),
                (b"Forwarded", b"for=10.0.0.2;proto=https"),
            ),
            self._upgrade(b"/%77s?token=" + token),
        ]

    def _get(self, target: bytes, *headers: Header) -> HttpRequest:
        return HttpRequest(b"GET", target, ((b"Host", self.host), *headers))

    def _post(self, target: bytes, body: bytes, *headers: Header) -> HttpRequest:
        length = (b"Content-Length", b"%d" % len(body))
        return HttpRequest(b"POST", target, ((b"Host", self.host), *headers, length), body)

    def _operations(self) -> list[HttpRequest]:
        targets = (b"/", b"/healthz", b"/readyz", b"/metrics", b"/asyncapi.json", b"/docs")
        return [
            *map(self._get, targets),
            self._get(b"/static/relay-client.js", (b"If-None-Match", b'"x"')),
            self._get(b"/static/../edge.py", (b"Range", b"bytes=0-5")),
        ]

    def _api(self, token: bytes, admin: bytes) -> list[HttpRequest]:
        bearer = (b"Authorization", b"Bearer " + token)
        boss = (b"Authorization", b"Bearer " + admin)
        form = (b"Content-Type", b"application/x-www-form-urlencoded")
        json_type = (b"Content-Type", b"application/json")
        return [
            self._get(b"/api/tasks", bearer),
            self._get(b"/api/tasks/list?token=" + token),
            self._get(b"/api/tasks/status/7f3c", bearer),
            self._get(b"/api/topics", bearer),
            self._get(b"/api/presence?prefix=room:&limit=5&after=room:1", bearer),
            self._get(b"/api/presence/room:1?limit=2", bearer),
            self._get(b"/api/streams/room/events?limit=10&topic=room:*", bearer),
            self._get(b"/api/streams/event/events?after=" + POSITIONS[0], bearer),
            self._post(b"/api/events", EVENT, bearer, (b"Idempotency-Key", b"key-1")),
            self._post(b"/api/events", EVENTS, bearer, json_type, (b"Expect", b"100-continue")),
            self._post(b"/auth/token", b"username=nobody&password=wrong-password", form),
            self._post(b"/auth/token", b'{"username":"nobody","password":"wrong"}', json_type),
            self._get(b"/auth/me", bearer),
            self._post(b"/auth/logout", b"", (b"Authorization", b"Bearer " + self._leaver)),
            self._post(b"/api/revocations", b'{"username":"nobody","before":5}', boss, json_type),
            self._post(b"/api/revocations", b'{"token_id":"x","expires_at":5}', boss, json_type),
        ]

    def _streams(self, token: bytes) -> list[HttpRequest]:
        bearer = (b"Authorization", b"Bearer " + token)
        return [
            self._get(b"/api/events?topic=event:*&topic=room:1&last=5", bearer),
            self._get(b"/api/events", bearer),
            *(
                self._get(b"/api/events?topic=*", bearer, (b"Last-Event-ID", at))
                for at in POSITIONS
            ),
            self._get(b"/api/events?last_event_id=" + POSITIONS[0] + b"&token=" + token),
            self._get(b"/api/events?topic=presence:room:1&topic=chat:*", bearer),
        ]
