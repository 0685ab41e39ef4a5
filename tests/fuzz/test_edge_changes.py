"""Changed traffic of an edge's clients is of many kinds, and a wrong answer to it is seen."""

import json
import zlib
from random import Random

import pytest

from edge.core.websocket.reader import FrameReader, ProtocolViolation
from tests.fuzz.budget import chance_of
from tests.fuzz.changes import changed_alike
from tests.fuzz.edge_roads import ROADS, checked
from tests.fuzz.edge_samples import TEXTS, EdgeSamples
from tests.fuzz.http_changes import changed_request, pieces
from tests.fuzz.json_changes import changed_json
from tests.fuzz.websocket_changes import BOMB_BYTES, TEXT, changed_message, frame

SAMPLES = EdgeSamples(lambda name, role: f"token-{name}-{role}", 8000)


def test_a_value_is_replaced_by_one_of_its_type() -> None:
    value = {"n": 1, "text": "a", "list": [b"x", 2.5, None]}
    found = [changed_alike(chance_of(1, number), value) for number in range(300)]
    assert {2**63, 2**64 - 1} <= {each.get("n") for each in found}
    assert any(len(each.get("text", "")) > 1000 for each in found)
    assert all(isinstance(each.get("n", 0), int) for each in found)


def test_requests_keep_their_form_often() -> None:
    requests = SAMPLES.handshakes
    found = [changed_request(chance_of(1, n), requests[1], requests) for n in range(500)]
    assert len(set(found)) > 300
    assert 250 < sum(each.count(b"\r\n\r\n") == 1 for each in found) < 480
    assert found == [changed_request(chance_of(1, n), requests[1], requests) for n in range(500)]


def test_pieces_are_the_whole() -> None:
    data = bytes(range(256))
    found = [pieces(chance_of(1, number), data) for number in range(50)]
    assert all(b"".join(each) == data for each in found)
    assert {len(each) for each in found} >= {1, 2, 4}


def test_most_frames_are_right_and_others_break_each_rule() -> None:
    reasons = set()
    right = 0
    for number in range(1500):
        reader = FrameReader(2000, may_compress=True)
        try:
            list(reader.feed(changed_message(chance_of(1, number), TEXTS)))
            right += 1
        except ProtocolViolation as violation:
            reasons.add(violation.close.reason)
    assert 900 < right < 1400
    assert reasons >= {
        "bad compression",
        "message too large",
        "unmasked frame",
        "reserved bits",
        "unknown opcode",
        "fragments out of order",
        "length not minimal",
        "control frame too long or fragmented",
    }
    assert len(zlib.decompressobj(-15).decompress(BOMB_BYTES)) == 4 * 2**20


def test_texts_stay_json_often() -> None:
    read = 0
    for number in range(300):
        try:
            json.loads(changed_json(chance_of(1, number), TEXTS[5], TEXTS))
        except ValueError:
            continue
        read += 1
    assert 150 < read < 290


@pytest.mark.parametrize("name", ROADS)
def test_a_road_depends_on_the_chance_alone(name: str) -> None:
    def sent(number: int) -> list[object]:
        return [(talk.pieces, talk.inputs) for talk in ROADS[name](chance_of(3, number), SAMPLES)]

    assert sent(1) == sent(1) != sent(2)
    assert sum(talk.inputs for talk in ROADS[name](Random(1), SAMPLES)) == 50


OPENED = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
CLOSED = frame(8, b"\x0f\xa1bye", mask=None)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Internal Server Error\r\n\r\n",
        OPENED + frame(TEXT, b'{"code":"failed"}', mask=None),
        OPENED + frame(TEXT, b"[]", mask=None),
        OPENED + frame(TEXT, b"no JSON", mask=None),
        OPENED + frame(8, b"\x03\xff", mask=None),
    ],
)
def test_a_wrong_answer_is_seen(answer: bytes) -> None:
    with pytest.raises((AssertionError, ValueError)):
        checked(b"sent")(answer)
    for right in (b"", b"HTTP/1.1 404 Not Found\r\n\r\n", OPENED + CLOSED):
        checked(b"sent")(right)
