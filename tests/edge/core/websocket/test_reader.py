"""Frames of clients, made by an independent implementation, and every way to break the rules."""

import random
import struct
import zlib
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError, PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.frames import Opcode as FrameOpcode
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from edge.core.websocket.close_codes import Close
from edge.core.websocket.frames import Opcode
from edge.core.websocket.reader import (
    BYTES_PER_FRAGMENT,
    MIN_FRAGMENTS,
    FrameReader,
    Message,
    ProtocolViolation,
    read_close,
)
from tests.support.websocket_frames import TEXT, client_frame

MAX_BYTES = 2_000
MASK = b"\x12\x34\x56\x78"

payloads = st.one_of(
    st.binary(max_size=300),
    st.binary(min_size=1, max_size=8).map(lambda piece: (piece * MAX_BYTES)[:MAX_BYTES]),
)
messages = st.lists(
    st.tuples(
        st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG]),
        payloads,
        st.lists(st.integers(0, MAX_BYTES), max_size=4),
        st.lists(st.binary(max_size=125), max_size=2),
    ),
    max_size=6,
)
"""Opcode, payload, cuts between fragments, pings between fragments."""


def frame(
    first: int, payload: bytes = b"", *, size: int | None = None, masked: int = 0x80
) -> bytes:
    """Return the bytes of one frame, right or wrong; `size` is the size in its header."""
    size = len(payload) if size is None else size
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 2**16:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    return head + (MASK + apply_mask(payload) if masked else payload)


def apply_mask(payload: bytes) -> bytes:
    return bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


def in_chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def read(data: bytes, max_bytes: int = MAX_BYTES, *, may_compress: bool = False) -> list[Message]:
    return fed(FrameReader(max_bytes, may_compress=may_compress), data)


def fed(reader: FrameReader, data: bytes) -> list[Message]:
    """Return the messages that `data` completes."""
    return [message for message in reader.feed(data) if message is not None]


def fed_all(reader: FrameReader, pieces: Iterable[bytes]) -> list[Message]:
    """Return the messages that `pieces` complete."""
    return [message for each in pieces for message in fed(reader, each)]


def violation(data: bytes, max_bytes: int = MAX_BYTES, *, may_compress: bool = False) -> Close:
    with pytest.raises(ProtocolViolation) as violated:
        read(data, max_bytes, may_compress=may_compress)
    return violated.value.close


@given(messages, st.lists(st.integers(0, 2**16), max_size=12))
def test_messages_come_out_as_they_were_sent_however_they_are_cut(
    sent: list[tuple[Opcode, bytes, list[int], list[bytes]]], cuts: list[int]
) -> None:
    client = ClientProtocol(parse_uri("ws://edge/ws"))
    client.state = State.OPEN
    expected: list[Message] = []
    for opcode, payload, places, pings in sent:
        if opcode in (Opcode.PING, Opcode.PONG):
            send = client.send_ping if opcode is Opcode.PING else client.send_pong
            send(payload[:125])
            expected.append(Message(opcode, payload[:125]))
            continue
        begin = client.send_text if opcode is Opcode.TEXT else client.send_binary
        *pieces, last = in_chunks(payload, places) or [b""]
        for index, piece in enumerate(pieces):
            (client.send_continuation if index else begin)(piece, fin=False)
            for ping in pings:
                client.send_ping(ping)
                expected.append(Message(Opcode.PING, ping))
        (client.send_continuation if pieces else begin)(last, fin=True)
        expected.append(Message(opcode, payload))
    reader = FrameReader(MAX_BYTES)
    came: list[Message] = []
    for chunk in in_chunks(b"".join(client.data_to_send()), cuts):
        came += fed(reader, chunk)
    assert came == expected


@given(messages, st.lists(st.integers(0, 2**16), max_size=12))
def test_compressed_messages_come_out_as_well_and_each_by_itself(
    sent: list[tuple[Opcode, bytes, list[int], list[bytes]]], cuts: list[int]
) -> None:
    deflate = PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=15,
        local_max_window_bits=15,
    )
    client = ClientProtocol(parse_uri("ws://edge/ws"))
    client.state = State.OPEN
    client.extensions = [deflate]
    expected: list[Message] = []
    for opcode, payload, places, _ in sent:
        if opcode in (Opcode.PING, Opcode.PONG):
            continue
        begin = client.send_text if opcode is Opcode.TEXT else client.send_binary
        *pieces, last = in_chunks(payload, places) or [b""]
        for index, piece in enumerate(pieces):
            (client.send_continuation if index else begin)(piece, fin=False)
        (client.send_continuation if pieces else begin)(last, fin=True)
        expected.append(Message(opcode, payload))
    reader = FrameReader(2 * MAX_BYTES, may_compress=True)
    came: list[Message] = []
    for chunk in in_chunks(b"".join(client.data_to_send()), cuts):
        came += fed(reader, chunk)
    assert came == expected


def test_a_client_that_may_compress_need_not() -> None:
    assert read(frame(0x81, b"plain"), may_compress=True) == [Message(Opcode.TEXT, b"plain")]


@pytest.mark.parametrize(
    ("data", "close"),
    [
        (frame(0x81, b"x", masked=0), Close(1002, "unmasked frame")),
        (frame(0x8A, b"", masked=0), Close(1002, "unmasked frame")),
        (frame(0xC1, b"x"), Close(1002, "reserved bits")),
        (frame(0xA1, b"x"), Close(1002, "reserved bits")),
        (frame(0x91, b"x"), Close(1002, "reserved bits")),
        (frame(0xC9, b"x"), Close(1002, "reserved bits")),
        *((frame(0x80 | code), Close(1002, "unknown opcode")) for code in (3, 4, 5, 6, 7)),
        *((frame(0x80 | code), Close(1002, "unknown opcode")) for code in range(11, 16)),
        (frame(0x09), Close(1002, "control frame too long or fragmented")),
        (frame(0x08), Close(1002, "control frame too long or fragmented")),
        (frame(0x89, b"x" * 126), Close(1002, "control frame too long or fragmented")),
        (frame(0x88, size=2**20), Close(1002, "control frame too long or fragmented")),
        (frame(0x80, b"x"), Close(1002, "fragments out of order")),
        (frame(0x00, b"x"), Close(1002, "fragments out of order")),
        (frame(0x01, b"x") + frame(0x81, b"y"), Close(1002, "fragments out of order")),
        (
            frame(0x01) + frame(0x80) + frame(0x80),
            Close(1002, "fragments out of order"),
        ),
        (frame(0x81, size=MAX_BYTES + 1), Close(1009, "message too large")),
        (frame(0x81, size=2**63 - 1), Close(1009, "message too large")),
        (frame(0x81, size=2**64 - 1), Close(1009, "message too large")),
        (
            frame(0x01, b"x" * MAX_BYTES) + frame(0x80, size=1),
            Close(1009, "message too large"),
        ),
        (
            frame(0x01, b"x") * 1 + frame(0x00, b"x" * 1_000) + frame(0x80, size=1_000),
            Close(1009, "message too large"),
        ),
    ],
    ids=lambda value: value.hex()[:24] if isinstance(value, bytes) else str(value),
)
def test_a_violation_names_the_rule(data: bytes, close: Close) -> None:
    assert violation(data) == close


def test_a_message_that_is_too_large_is_refused_before_it_is_there() -> None:
    reader = FrameReader(MAX_BYTES)
    header = frame(0x81, size=MAX_BYTES + 1)
    for index in range(3):
        assert fed(reader, header[index : index + 1]) == []
    with pytest.raises(ProtocolViolation):
        fed(reader, header[3:4])


def test_a_message_of_the_largest_size_comes_whole_and_in_parts() -> None:
    payload = b"x" * MAX_BYTES
    assert read(frame(0x81, payload)) == [Message(Opcode.TEXT, payload)]
    parts = frame(0x01, payload[:999]) + frame(0x00, payload[999:]) + frame(0x80)
    assert read(parts) == [Message(Opcode.TEXT, payload)]


def test_a_message_has_a_bounded_number_of_fragments() -> None:
    just = frame(0x01) + frame(0x00) * (MIN_FRAGMENTS - 2) + frame(0x80)
    assert read(just * 2) == [Message(Opcode.TEXT, b"")] * 2, "of each message"
    endless = frame(0x01) + frame(0x00) * MIN_FRAGMENTS
    assert violation(endless) == Close(1009, "too many fragments")


def test_a_message_that_may_be_large_may_have_more_fragments() -> None:
    fragments = 2 * MIN_FRAGMENTS
    reader = FrameReader(fragments * BYTES_PER_FRAGMENT)
    just = frame(0x01) + frame(0x00) * (fragments - 2) + frame(0x80)
    assert [each for each in fed(reader, just) if each] == [Message(Opcode.TEXT, b"")]
    with pytest.raises(ProtocolViolation) as broken:
        fed(reader, frame(0x01) + frame(0x00) * fragments)
    assert broken.value.close == Close(1009, "too many fragments")


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (b"\xfe\x00\x05", "length not minimal"),
        (b"\xfe\x00\x7d", "length not minimal"),
        (b"\xff" + bytes(7) + b"\x05", "length not minimal"),
        (b"\xff" + bytes(6) + b"\xff\xff", "length not minimal"),
    ],
)
def test_a_length_in_more_bytes_than_it_needs_is_refused(length: bytes, reason: str) -> None:
    """RFC 6455, section 5.2. It is refused as soon as it is there, without a payload."""
    assert violation(b"\x81" + length) == Close(1002, reason)
    reader = FrameReader(MAX_BYTES)
    first, *others = (length[index : index + 1] for index in range(len(length)))
    assert fed(reader, b"\x81") == fed(reader, first) == []
    with pytest.raises(ProtocolViolation):
        fed_all(reader, others)


@pytest.mark.parametrize("size", [125, 126, 127, 2**16 - 1, 2**16, 2**16 + 1])
def test_the_smallest_form_of_each_length_is_taken_in_one_piece_and_byte_by_byte(size: int) -> None:
    whole = frame(0x81, b"x" * size)
    expected = [Message(Opcode.TEXT, b"x" * size)]
    assert fed(FrameReader(2**17), whole) == expected
    reader = FrameReader(2**17)
    pieces = [whole[index : index + 1] for index in range(len(whole))]
    assert fed_all(reader, pieces) == expected


def reference_code(data: bytes) -> int | None:
    """Return the code with which the library's server closes after `data`; None if it does not."""
    server = ServerProtocol(state=State.OPEN, max_size=MAX_BYTES)
    server.receive_data(data)
    error = server.parser_exc
    if isinstance(error, PayloadTooBig):
        return 1009
    if isinstance(error, UnicodeDecodeError):
        return 1007
    if str(error) == "incomplete fragmented message":
        return None  # A close frame there is none of our business.
    assert error is None or isinstance(error, ProtocolError | ConnectionClosedError), error
    return 1002 if isinstance(error, ProtocolError) else None


@st.composite
def nearly_right(draw: st.DrawFn) -> bytes:
    """Frames with an arbitrary byte in a header."""
    data = bytearray()
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.sampled_from([0x81, 0x82, 0x01, 0x00, 0x80, 0x89, 0x8A, 0x88]))
        payload = draw(st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8why", b"x" * 125, b"x" * 130]))
        one = bytearray(frame(first, payload))
        if draw(st.booleans()):
            one[draw(st.integers(0, 1))] = draw(st.integers(0, 255))
        data += one
    return bytes(data)


def code_of(data: bytes) -> int | None:
    """The code with which we fail it; what follows a close frame is of no interest to anybody."""
    reader = FrameReader(MAX_BYTES)
    try:
        for byte in data:
            for message in fed(reader, bytes([byte])):
                if message.opcode is Opcode.CLOSE:
                    read_close(message.payload)
                    return None
    except ProtocolViolation as violated:
        return violated.close.code
    return None


@settings(max_examples=500)
@given(nearly_right())
def test_a_violation_is_one_for_another_implementation_too(data: bytes) -> None:
    expected, code = reference_code(data), code_of(data)
    event(f"fails with {expected}")
    if code is None and expected is not None:
        # It looks at the first bytes of a header before the rest is there.
        code = code_of(data + bytes(14))
    elif expected is None and code is not None:
        # It looks at what a frame is once its payload is there.
        expected = reference_code(data + bytes(MAX_BYTES))
    # What breaks two rules may be called either.
    assert code == expected or {code, expected} in ({1002, 1009}, {1002, 1007})


@given(st.binary(max_size=400), st.booleans(), st.lists(st.integers(0, 400), max_size=5))
def test_any_bytes_are_messages_or_a_violation_the_same_however_they_are_cut(
    data: bytes, may_compress: bool, cuts: list[int]
) -> None:
    def outcome(chunks: list[bytes]) -> tuple[list[Message], Close | None]:
        reader = FrameReader(100, may_compress=may_compress)
        came: list[Message] = []
        try:
            for chunk in chunks:
                came += fed(reader, chunk)
        except ProtocolViolation as violated:
            return came, violated.close
        return came, None

    by_byte = outcome([data[index : index + 1] for index in range(len(data))])
    cut = outcome(in_chunks(data, cuts))
    assert cut[1] == by_byte[1]
    assert cut[0] == by_byte[0][: len(cut[0])], "what a violation takes along is the end"
    assert cut[1] is not None or cut[0] == by_byte[0]


# Compression.


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\0\0\xff\xff")


@given(payloads, st.sampled_from([Opcode.TEXT, Opcode.BINARY]), st.integers(0, MAX_BYTES))
def test_compressed_payloads_are_inflated(payload: bytes, opcode: Opcode, cut: int) -> None:
    small = deflated(payload)
    whole = frame(0xC0 | opcode, small)
    parts = frame(0x40 | opcode, small[:cut]) + frame(0x80, small[cut:])
    plain = frame(0x80 | opcode, payload)
    came = read(whole + parts + plain, MAX_BYTES + 100, may_compress=True)
    assert came == [Message(opcode, payload)] * 3


def test_a_message_may_end_its_compression_for_good() -> None:
    """RFC 7692, section 7.2.3.4: a block may be the final one."""
    ended = zlib.compressobj(wbits=-15)
    data = ended.compress(b"hello hello") + ended.flush(zlib.Z_FINISH) + b"\0"
    came = read(frame(0xC1, data) * 2, may_compress=True)
    assert came == [Message(Opcode.TEXT, b"hello hello")] * 2


@pytest.mark.parametrize("size", [MAX_BYTES + 1, 10_000_000])
def test_a_message_that_is_too_large_inflated_is_refused(size: int) -> None:
    bomb = deflated(b"\0" * size)[:MAX_BYTES]
    assert violation(frame(0xC1, bomb), may_compress=True) == Close(1009, "message too large")


def test_a_message_of_the_largest_size_inflated_is_read() -> None:
    payload = b"\0" * MAX_BYTES
    came = read(frame(0xC1, deflated(payload)), may_compress=True)
    assert came == [Message(Opcode.TEXT, payload)]


@pytest.mark.parametrize(
    "garbage", [b"\xff", b"\x06\xff\xff", b"\xee" * 20, b"\x00\x01\x02\x03\x04"]
)
def test_a_payload_that_cannot_be_inflated_is_a_violation(garbage: bytes) -> None:
    assert violation(frame(0xC1, garbage), may_compress=True) == Close(1002, "bad compression")


@pytest.mark.parametrize("first", [0xE1, 0xD1, 0xC9, 0xC8, 0xF1])
def test_other_reserved_bits_stay_reserved(first: int) -> None:
    assert violation(frame(first), may_compress=True) == Close(1002, "reserved bits")


def test_only_the_first_fragment_says_that_a_message_is_compressed() -> None:
    parts = frame(0x41, deflated(b"x")) + frame(0xC0)
    assert violation(parts, may_compress=True) == Close(1002, "reserved bits")


@given(st.binary(max_size=60), st.integers(0, 2**32))
def test_any_compressed_bytes_are_a_message_or_a_violation(data: bytes, seed: int) -> None:
    spoilt = bytearray(deflated(data * 5))
    dice = random.Random(seed)
    if spoilt:
        spoilt[dice.randrange(len(spoilt))] ^= 1 << dice.randrange(8)
    code: int | None
    try:
        [message] = read(frame(0xC1, bytes(spoilt)), may_compress=True)
    except ProtocolViolation as violated:
        code = violated.close.code
    else:
        code = None
        assert len(message.payload) <= MAX_BYTES
    assert code in (None, 1002, 1009)


def test_the_frames_of_this_test_are_valid() -> None:
    """A wrong mask or length must not make these tests pass."""
    server = ServerProtocol(state=State.OPEN)
    server.receive_data(frame(0x81, b"x" * 70_000) + frame(0x89, b"y"))
    assert server.events_received() == [
        Frame(FrameOpcode.TEXT, b"x" * 70_000),
        Frame(FrameOpcode.PING, b"y"),
    ]


def test_every_frame_is_told_whether_it_completes_a_message_or_not() -> None:
    data = frame(0x01, b"a") + frame(0x89, b"p") + frame(0x00, b"b") + frame(0x80, b"c")
    assert list(FrameReader(MAX_BYTES).feed(data)) == [
        None,
        Message(Opcode.PING, b"p"),
        None,
        Message(Opcode.TEXT, b"abc"),
    ]


def test_messages_before_a_violation_are_read() -> None:
    came = FrameReader(MAX_BYTES).feed(frame(0x81, b"well") + frame(0x88, b"") + b"\x8f\x80")
    assert next(came) == Message(Opcode.TEXT, b"well")
    assert next(came) == Message(Opcode.CLOSE, b"")
    with pytest.raises(ProtocolViolation):
        next(came)


def test_a_stopped_reader_ignores_everything_and_drops_what_is_not_complete() -> None:
    reader = FrameReader(1024)
    whole = client_frame(TEXT, b"hello")
    assert list(reader.feed(whole[:4])) == []
    reader.stop()
    assert list(reader.feed(whole[4:])) == []
    assert list(reader.feed(whole)) == []
