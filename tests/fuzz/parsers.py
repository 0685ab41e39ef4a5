"""Functions that take bytes from strangers, each with the errors that it may raise."""

import logging
from collections.abc import Callable, Sequence
from random import Random

import psutil
from nacl import bindings as sodium

from relay.net.port import CHUNK_BYTES
from relay.shared.curve_keys import KeyPair
from relay.wire.calls import read_call_notice
from relay.wire.control import unpack_heartbeat, unpack_map, unpack_request
from relay.wire.demand import unpack_digests
from relay.wire.envelope import complete_envelope, pack_envelope, unpack_envelope
from relay.wire.header import pack_header, unpack_header, unpack_stamp
from relay.wire.notices import unpack_notice
from relay.wire.topics import decode_topic
from relay.zmtp.connection import ZmtpConnection
from relay.zmtp.curve_mechanism import CurveMechanism
from relay.zmtp.errors import ZmtpError
from relay.zmtp.null_mechanism import NullMechanism
from relay.zmtp.reader import SMALL_BYTES, Bounds
from tests.fuzz import relay_samples as samples
from tests.fuzz.budget import Budget, chance_of
from tests.fuzz.changes import changed_bytes, changed_frames, lying
from tests.fuzz.edge_parsers import EDGE_PARSERS
from tests.fuzz.link_parsers import LINK_PARSERS
from tests.fuzz.parser import Change, Fault, Parser
from tests.fuzz.watched import MIB
from tests.support import curve_client
from tests.support.curve_client import CurveClient
from tests.support.zmtp_peer import GREETING, ready

GROWS_BY = 64 * MIB
BOUNDS = {
    "ingress": Bounds(3_000, 10_000, 8),
    "egress": Bounds(1_025, 1_025, 1),
    "control": Bounds(2_000, 4_000, 8),
}
SOCKETS = {"ingress": b"XSUB", "egress": b"XPUB", "control": b"ROUTER"}

RELAY_KEYS = KeyPair(*sodium.crypto_box_seed_keypair(b"r" * 32))
CLIENT_KEYS = KeyPair(*sodium.crypto_box_seed_keypair(b"c" * 32))
CURVE_STREAMS = [
    curve_client.GREETING
    + curve_client.command(b"HELLO", CurveClient(RELAY_KEYS.public, CLIENT_KEYS).hello())
]


def _connection(name: str) -> Callable[[bytes], object]:
    """Return a function that reads a stream in pieces, and checks what is kept of it."""
    bounds = BOUNDS[name]
    most_kept = bounds.kept_bytes + 1 + bounds.frames * SMALL_BYTES + CHUNK_BYTES

    def parse(data: bytes) -> None:
        connection = ZmtpConnection(NullMechanism(SOCKETS[name]), bounds)
        # The pieces depend on the input alone.
        size = 1 + (sum(data[:100]) * 37) % 1000
        for position in range(0, len(data), size):
            connection.receive(data[position : position + size])
            while True:
                for frames in connection.read(5):
                    assert 0 < len(frames) <= bounds.frames
                connection.take_output()
                if not connection.has_more:
                    break
            assert connection.waiting_bytes <= most_kept

    return parse


def _curve_stream(data: bytes) -> None:
    """Read a stream up to the first answer, which nobody can know before."""
    connection = ZmtpConnection(_curve(), BOUNDS["control"])
    connection.receive(data)
    connection.read(5)


def _curve_traffic(data: bytes) -> None:
    """Read what an honest client seals: frames of a byte of flags, one of the size, and a body."""
    connection = ZmtpConnection(_curve(), BOUNDS["control"])
    client = CurveClient(RELAY_KEYS.public, CLIENT_KEYS)
    connection.receive(curve_client.GREETING + curve_client.command(b"HELLO", client.hello()))
    connection.read(1)
    welcome = connection.take_output()[64:]
    client.take_welcome(curve_client.command_data(welcome, b"WELCOME"))
    connection.receive(curve_client.command(b"INITIATE", client.initiate()))
    connection.read(1)
    assert connection.is_open
    while data:
        flags, size, body = data[0], data[1:2], data[2:]
        length = size[0] if size else 0
        connection.receive(curve_client.frame(client.seal(body[:length], flags)))
        data = body[length:]
        for frames in connection.read(5):
            assert 0 < len(frames) <= BOUNDS["control"].frames


def _curve() -> CurveMechanism:
    return CurveMechanism(b"ROUTER", RELAY_KEYS.secret, lambda _key: True)


def _header(data: bytes) -> None:
    assert pack_header(unpack_header(data)) == data


def _envelope(data: bytes) -> None:
    for kind in ("event", "task"):
        unpack_envelope(data, kind)


def _plain(data: bytes) -> None:
    envelope = complete_envelope(data, "event", now_ms=1, new_id="id")
    assert unpack_envelope(pack_envelope(envelope, "event"), "event") == envelope


def _changed_stream(name: str) -> Change:
    def change(chance: Random, data: bytes, others: Sequence[bytes]) -> bytes:
        if chance.random() < 0.3:
            return changed_bytes(chance, data, others)
        begin = data[: len(GREETING + ready(samples.SOCKET_TYPES[name]))]
        messages = [
            changed_frames(chance, chance.choice(samples.MESSAGES[name]), others)
            for _ in range(chance.randint(1, 3))
        ]
        body = b"".join(lying(chance, frames) for frames in messages)
        return begin + body

    return change


PARSERS = {
    **{
        f"zmtp {name}": Parser(_connection(name), samples.STREAMS[name], _changed_stream(name))
        for name in SOCKETS
    },
    "curve stream": Parser(_curve_stream, CURVE_STREAMS, changed_bytes),
    "curve traffic": Parser(_curve_traffic, [b"\1\3abc\0\1x\2\5\4PING\0\2yz"], changed_bytes),
    "request": Parser(unpack_request, samples.REQUESTS),
    "envelope": Parser(_envelope, samples.ENVELOPES),
    "plain envelope": Parser(_plain, samples.PLAIN),
    "header": Parser(_header, samples.HEADERS, changed_bytes),
    "stamp": Parser(unpack_stamp, samples.STAMPS, changed_bytes),
    "topic": Parser(decode_topic, samples.TOPICS, changed_bytes),
    "digests": Parser(unpack_digests, [bytes(16)], changed_bytes),
    "notice": Parser(unpack_notice, samples.NOTICES[:2]),
    "call notice": Parser(lambda data: read_call_notice(unpack_map(data)), samples.NOTICES[2:]),
    "heartbeat": Parser(unpack_heartbeat, samples.HEARTBEATS),
    **EDGE_PARSERS,
    **LINK_PARSERS,
}


def try_one(name: str, data: bytes) -> bool:
    """Return whether the parser `name` accepts `data`. Raises `Fault`."""
    parser = PARSERS[name]
    try:
        parser.parse(data)
    except parser.refusals as error:
        if not str(error).isprintable() and isinstance(error, ZmtpError):
            raise Fault(f"{name}: the text for the log is not printable: {error!r}") from error
        return False
    except Exception as error:
        raise Fault(f"{name}: {error!r} with {data[:2000]!r}") from error
    return True


class _Formats(logging.Handler):
    """Formats what is logged, and shows it to nobody."""

    def emit(self, record: logging.LogRecord) -> None:
        """Format the record: a fault in it is one of the parser."""
        record.getMessage()


def fuzz_parsers(budget: Budget, seed: int) -> str:
    """Give changed inputs to all parsers in turns; return what was done. Raises `Fault`."""
    root, handler = logging.getLogger(), _Formats()
    root.addHandler(handler)
    try:
        return _fuzz_all(budget, seed)
    finally:
        root.removeHandler(handler)


def _fuzz_all(budget: Budget, seed: int) -> str:
    names = list(PARSERS)
    tried = accepted = 0
    process = psutil.Process()
    before = process.memory_info().rss
    for number in budget.numbers():
        chance = chance_of(seed, number)
        name = names[number % len(names)]
        parser = PARSERS[name]
        data = parser.change(chance, chance.choice(parser.samples), parser.samples)
        try:
            accepted += try_one(name, data)
        except Fault as fault:
            raise Fault(f"{fault}; again: parsers --seed {seed} --only {number}") from fault
        tried += 1
    grown = process.memory_info().rss - before
    assert grown < GROWS_BY, f"{grown / MIB:.0f} MiB more after {tried} inputs"
    return (
        f"{tried} inputs to {len(names)} parsers, {accepted} of them accepted;"
        f" {before / MIB:.0f} MiB before, {grown / MIB:+.0f} MiB"
    )
