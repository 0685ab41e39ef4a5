"""The parsers of an edge for its clients: HTTP heads, WebSocket frames, messages, positions."""

import contextlib
import json
from collections.abc import Callable, Sequence
from random import Random

import httptools

from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import Identity, KindAccess
from edge.core.identity.credentials import CredentialRules, chosen_subprotocol
from edge.core.identity.proxies import TrustedProxies
from edge.core.identity.request_head import RequestHead
from edge.core.identity.tokens import InvalidToken, Tokens
from edge.core.protocol.positions import parse_position
from edge.core.protocol.publications import InvalidPublication, parse_publications
from edge.core.protocol.requests import InvalidRequest, parse_personal_position
from edge.core.session import Session, SessionLimits, SessionServices, Visitor
from edge.core.websocket.frames import Opcode
from edge.core.websocket.handshake import BadHandshake, accept, is_upgrade, offers_deflate
from edge.core.websocket.reader import FrameReader, ProtocolViolation, read_close
from relay.wire.kinds import Kinds
from tests.edge.recorders import RecordingActions, RecordingConnection
from tests.edge.world import World
from tests.fuzz.changes import changed_bytes
from tests.fuzz.edge_samples import EVENT, EVENTS, POSITIONS, TEXTS, EdgeSamples
from tests.fuzz.http_changes import HttpRequest, changed_request
from tests.fuzz.json_changes import changed_json
from tests.fuzz.parser import Change, Parser
from tests.fuzz.websocket_changes import (
    BOMB_BYTES,
    CLOSES,
    TEXT,
    changed_message,
    deflated,
    frame,
)

NOW = 1_789_000_000.0
MAX_MESSAGE_BYTES = 2_000
MAX_REST_BYTES = 65_536
TOKENS = Tokens("s" * 32)
SAMPLES = EdgeSamples(lambda name, role: TOKENS.issue(name, role, int(NOW) + 600, NOW), 8000)
RULES = CredentialRules(
    ("event_relay", "access_token_cookie"),
    ("https://shop.example.org",),
    TrustedProxies.parse(("127.0.0.0/8",)),
    ("127.0.0.1", "*.example.org"),
)
LIMITS = SessionLimits(100.0, 2000, 50, 5)


def _size_of_pieces(data: bytes) -> int:
    """Return a size that depends on the input alone."""
    return 1 + (sum(data[:100]) * 37) % 1000


def _read_frames(data: bytes) -> None:
    reader = FrameReader(MAX_MESSAGE_BYTES, may_compress=True)
    size = _size_of_pieces(data)
    for position in range(0, len(data), size):
        for message in reader.feed(data[position : position + size]):
            if message is None:
                continue
            assert len(message.payload) <= MAX_MESSAGE_BYTES
            if message.opcode is Opcode.CLOSE:
                read_close(message.payload)
        kept = len(reader._rest or b"") + len(reader._fragments or b"")
        assert kept <= MAX_MESSAGE_BYTES + MAX_REST_BYTES, kept


def _changed_frames(chance: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if chance.random() < 0.3:
        return changed_bytes(chance, data, others)
    return b"".join(changed_message(chance, TEXTS) for _ in range(chance.randint(1, 4)))


def _read_head(data: bytes) -> None:
    """Do what the front door does with a request."""
    head = RequestHead()
    parser = httptools.HttpRequestParser(head)
    with contextlib.suppress(httptools.HttpParserUpgrade):
        parser.feed_data(data)
    for peer in ("127.0.0.1", "10.0.0.1", None):
        RULES.of_request(head)
        RULES.serves_host(head, peer)
        RULES.is_foreign(head, peer)
        RULES.proxies.is_local(head, peer)
        credentials = RULES.of_handshake(head, peer)
        RULES.proxies.read(head, peer)
        with contextlib.suppress(InvalidToken):
            TOKENS.first_valid((*credentials.explicit, *credentials.cookies), NOW)
    parse_personal_position(dict(head.query))
    if is_upgrade(parser.get_method(), head.headers):
        is_compressed = offers_deflate(head.headers)
        subprotocol = chosen_subprotocol(head)
        answer = accept(
            head.headers,
            subprotocol,
            compress=is_compressed,
            version=parser.get_http_version(),
        )
        assert answer.count(b"\r\n\r\n") == 1, answer
        assert answer.count(b"\n") == answer.count(b"\r\n"), "no line is slipped in"


def _changed_head(requests: Sequence[HttpRequest]) -> Change:
    def change(chance: Random, _data: bytes, _others: Sequence[bytes]) -> bytes:
        return changed_request(chance, chance.choice(requests), requests)

    return change


class Table:
    """A session of a client of an edge without a relay."""

    def __init__(self, role: str | None) -> None:
        edge = World().edge
        self.connection = RecordingConnection("nobody yet", "user")
        self.manager: ConnectionManager = edge.manager
        services = SessionServices(
            edge.manager,
            edge.streams,
            edge.snapshots,
            KindAccess(Kinds()),
            TOKENS,
            LIMITS,
            RecordingActions(),
        )
        visitor = Visitor(None, (SAMPLES.tokens[1].decode(),), None)
        self.session = Session(self.connection, services, lambda _: None, visitor, NOW)
        if role is not None:
            self.session.admit(Identity("fuzz-0", role, int(NOW) + 600), NOW, NOW)

    def check(self) -> None:
        """Each frame for the client is a JSON object."""
        self.manager.flush()
        for message in self.connection.take():
            assert isinstance(message, dict), message


def _converse(role: str | None) -> Callable[[bytes], object]:
    """Return a function that takes messages, one in each line."""

    def parse(data: bytes) -> None:
        table = Table(role)
        for line in data.split(b"\n"):
            # Text that is no UTF-8 does not come so far.
            if table.session.act_on(line.decode(errors="ignore"), NOW, NOW) is not None:
                break
        table.check()

    return parse


def _changed_texts(chance: Random, data: bytes, _others: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    lines[at] = changed_json(chance, lines[at], TEXTS)
    lines.insert(chance.randint(0, len(lines)), chance.choice(TEXTS))
    return b"\n".join(lines)


def _read_position(data: bytes) -> None:
    text = data.decode("latin-1")
    position = parse_position(text, "after")
    assert parse_position(str(position), "after") == position


CONVERSATIONS = [b"\n".join(TEXTS[:6]), b"\n".join(TEXTS[6:]), *TEXTS]
AUTHENTICATION = json.dumps(
    {"action": "authenticate", "token": SAMPLES.tokens[0].decode(), "id": 1}
).encode()
HTTP_REFUSALS = (httptools.HttpParserError, BadHandshake, InvalidRequest)
EDGE_PARSERS = {
    "websocket": Parser(
        _read_frames,
        [
            b"".join(frame(TEXT, each) for each in TEXTS[:5]),
            frame(TEXT, deflated(TEXTS[0]), first=0xC0),
            frame(TEXT, b"a" * 200, first=0) + frame(9, b"x") + frame(0, b"b" * 200),
        ],
        _changed_frames,
        (ProtocolViolation,),
    ),
    "websocket close": Parser(read_close, CLOSES[2:4], changed_bytes, (ProtocolViolation,)),
    "inflated": Parser(
        lambda data: _read_frames(frame(TEXT, data, first=0xC0)),
        [deflated(each) for each in TEXTS] + [BOMB_BYTES[:0]],
        changed_bytes,
        (ProtocolViolation,),
    ),
    "handshake": Parser(
        _read_head,
        [each.pack() for each in SAMPLES.handshakes],
        _changed_head(SAMPLES.handshakes),
        HTTP_REFUSALS,
    ),
    "http head": Parser(
        _read_head,
        [each.pack() for each in SAMPLES.requests + SAMPLES.streams],
        _changed_head(SAMPLES.requests + SAMPLES.streams),
        HTTP_REFUSALS,
    ),
    "messages of a user": Parser(_converse("user"), CONVERSATIONS, _changed_texts),
    "messages of a stranger": Parser(
        _converse(None), [AUTHENTICATION + b"\n" + TEXTS[0]], _changed_texts
    ),
    "position": Parser(_read_position, POSITIONS, changed_bytes, (InvalidRequest,)),
    "publications": Parser(
        parse_publications, [EVENT, EVENTS], changed_json, (InvalidPublication,)
    ),
}
