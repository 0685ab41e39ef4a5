"""The roads into an edge: each makes the talks of a handful of connections."""

import json
import re
import zlib
from collections.abc import Callable, Sequence
from random import Random

from tests.fuzz.edge_samples import TEXTS, EdgeSamples
from tests.fuzz.http_changes import HttpRequest, changed_request, pieces
from tests.fuzz.json_changes import changed_json
from tests.fuzz.talks import Talk
from tests.fuzz.websocket_changes import TEXT, changed_message, frame
from tests.support.websocket_frames import split_frames

STATUSES = frozenset(
    (100, 101, 200, 204, 206, 304, 307, 400, 401, 403, 404, 405, 406, 408, 409, 411, 413, 414, 415)
) | frozenset((416, 417, 422, 426, 429, 431, 503, 505))
CLOSE_CODES = frozenset((1001, 1002, 1003, 1007, 1008, 1009, 4001, 4008, 4009, 4013, 4029))
ERROR_CODES = frozenset(
    (
        "invalid_json",
        "bad_request",
        "too_many_subscriptions",
        "unknown_action",
        "invalid_topic",
        "forbidden",
        "too_many_requests",
        "unknown_method",
        "timeout",
        "unavailable",
    )
)
"""Of the table of section 7, without `failed`: no application is there whose function could."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
Road = Callable[[Random, EdgeSamples], list[Talk]]


def handshakes(chance: Random, samples: EdgeSamples) -> list[Talk]:
    """Requests for `/ws`, of which most are wrong."""
    return [_request(chance, samples.handshakes, samples) for _ in range(50)]


def http(chance: Random, samples: EdgeSamples) -> list[Talk]:
    """Requests of all kinds."""
    return [_request(chance, samples.requests, samples) for _ in range(50)]


def event_streams(chance: Random, samples: EdgeSamples) -> list[Talk]:
    """Requests for Server-Sent Events."""
    return [_request(chance, samples.streams, samples) for _ in range(50)]


def frames(chance: Random, samples: EdgeSamples) -> list[Talk]:
    """Open WebSockets, and frames that break the rules now and then."""
    talks = []
    for _ in range(10):
        token = None if chance.random() < 0.2 else chance.choice(samples.tokens)
        opening = samples.handshake(token, deflate=chance.random() < 0.7)
        sent = [changed_message(chance, TEXTS) for _ in range(5)]
        cut = [part for each in sent for part in pieces(chance, each)]
        talks.append(Talk([opening, *cut], len(sent), checked(b"".join(cut))))
    return talks


def messages(chance: Random, samples: EdgeSamples) -> list[Talk]:
    """Open WebSockets, whose frames are right and whose messages are not."""
    talks = []
    for _ in range(5):
        token = None if chance.random() < 0.2 else chance.choice(samples.tokens)
        texts = [_text(chance, samples) for _ in range(10)]
        sent = b"".join(frame(TEXT, each) for each in texts)
        opening = samples.handshake(token, deflate=chance.random() < 0.3)
        talks.append(Talk([opening, sent], len(texts), checked(sent)))
    return talks


ROADS: dict[str, Road] = {
    "handshake": handshakes,
    "frames": frames,
    "messages": messages,
    "http": http,
    "event streams": event_streams,
}


def _text(chance: Random, samples: EdgeSamples) -> bytes:
    text = chance.choice(TEXTS)
    if b"not a token" in text and chance.random() < 0.7:
        text = text.replace(b"not a token", chance.choice(samples.tokens))
    return text if chance.random() < 0.2 else changed_json(chance, text, TEXTS)


def _request(chance: Random, requests: Sequence[HttpRequest], samples: EdgeSamples) -> Talk:
    everything = samples.handshakes + samples.requests + samples.streams
    request = chance.choice(requests)
    if chance.random() < 0.5:
        token = chance.choice(samples.tokens)
        first = samples.tokens[0]
        request = request._replace(
            target=request.target.replace(first, token),
            headers=tuple((name, value.replace(first, token)) for name, value in request.headers),
        )
    data = changed_request(chance, request, everything)
    return Talk(pieces(chance, data), 1, checked(data))


def checked(sent: bytes) -> Callable[[bytes], None]:
    """Return a check of the answer to `sent`, which raises `AssertionError` or `ValueError`."""

    def check(answer: bytes) -> None:
        for status in map(int, _STATUS.findall(answer[:20])):
            assert status in STATUSES, f"{status} to {sent[:2000]!r}"
            if status == 101:
                _check_frames(answer.partition(b"\r\n\r\n")[2], sent)

    return check


def _check_frames(data: bytes, sent: bytes) -> None:
    found, _ = split_frames(data)
    for first, payload in found:
        if first & 0x0F == TEXT:
            _check_text(_inflated(payload) if first & 0x40 else payload, sent)
        elif first & 0x0F == 8 and payload:
            code = int.from_bytes(payload[:2])
            is_echo = payload[:2] in sent or code in (1000, 1011)
            assert code in CLOSE_CODES or is_echo or code >= 3000, f"{payload!r} to {sent[:2000]!r}"


def _check_text(text: bytes, sent: bytes) -> None:
    message = json.loads(text)
    assert isinstance(message, dict), text
    code = message.get("code")
    assert code is None or code in ERROR_CODES, f"{text!r} to {sent[:2000]!r}"


def _inflated(payload: bytes) -> bytes:
    return zlib.decompressobj(wbits=-15).decompress(payload + b"\0\0\xff\xff")
