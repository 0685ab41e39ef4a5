"""The parsers of edges and emitters for the words of a relay: replies, and whole conversations.

A conversation is a msgpack list of its messages, each of which is a list of frames.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import msgpack

from edge.core.hub.ages import ConnectionAges
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.revocations import Revocations
from edge.core.presence import frames as presence_frames
from edge.core.presence.peers import Peers
from edge.core.presence.view import PresenceView
from edge.core.streams.inbound import Inbound
from edge.core.streams.revocation_stream import RevocationStream
from edge.core.websocket.close_codes import Close
from edge.core.websocket.frames import close_frame
from edge.disconnection import Disconnection
from emitters.core.dialogue import Dialogue
from emitters.core.greeting import Greeting
from emitters.core.identity import EmitterIdentity
from emitters.core.outbox import Outbox
from relay.wire.control import (
    ErrorReply,
    Heartbeat,
    HelloReply,
    HelloRequest,
    ReplayReply,
    ReplayRequest,
    Request,
    RetainedReply,
    RetainedRequest,
    pack_message,
    unpack_heartbeat,
    unpack_reply,
)
from relay.wire.demand_messages import DemandReply, DemandRequest, WatchedReply, WatchedRequest
from relay.wire.envelope import Envelope, pack_envelope, unpack_envelope
from relay.wire.errors import WireError
from relay.wire.header import Stamp, pack_stamp, unpack_stamp
from relay.wire.notices import Acknowledged, Resend, pack_notice, unpack_notice
from relay.wire.topics import EDGE_STATE, Pattern, Topic, decode_topic
from tests.edge.recorders import RecordingConnection
from tests.edge.world import EdgeCore
from tests.emitters.core.messages import outgoing
from tests.fuzz.changes import changed_frames
from tests.fuzz.parser import Parser

EPOCH = 7
NOW_MS = 1_790_000_000_000
STREAMS = ("event", "task", "addressed", "revocation")
IDENTITY = EmitterIdentity("fuzz", b"e" * 16, b"p" * 16)


def _record(
    kind: str, topic: str, offset: int, data: object, user: str | None = None
) -> list[bytes]:
    envelope = Envelope("event", data, user, "relay", 1, f"id-{offset}")
    return [
        topic.encode(),
        pack_stamp(Stamp(EPOCH, offset, NOW_MS)),
        pack_envelope(envelope, kind),
    ]


def _heartbeat(last: int) -> list[bytes]:
    body = Heartbeat(
        tips=dict.fromkeys(STREAMS, last),
        low=dict.fromkeys(STREAMS, 1),
        started_at=NOW_MS,
        journaling=True,
        start=dict.fromkeys(STREAMS, 0),
    )
    return [b"!heartbeat", pack_stamp(Stamp(EPOCH, 0, NOW_MS)), pack_message(body)]


def _page(kind: str, after: int, *records: list[bytes]) -> list[bytes]:
    items = tuple((one, two, three) for one, two, three in records)
    reply = ReplayReply(id=1, epoch=EPOCH, items=items, low=1, tip=after + len(items))
    return [b"?" + kind.encode(), pack_message(reply)]


def _values(*records: list[bytes]) -> list[bytes]:
    items = tuple((one, two, three) for one, two, three in records)
    return [b"?", pack_message(RetainedReply(id=1, items=items, next=b"chat:1"))]


TASK = {"status": "in_progress", "message": "x"}
MEMBERS = {"version": 18, "members": {"room:1": {"carol": [NOW_MS, 2], "dave": [NOW_MS, 1]}}}
BEAT = {"versions": {"7": 18, "8": 1}}
LINK_CONVERSATIONS = [
    [
        _heartbeat(0),
        _record("event", "event:a", 1, {"n": 1}),
        _record("task", "task:1", 1, TASK, "alice"),
        _record("addressed", "addressed:event:x", 1, [5], "alice"),
        _heartbeat(1),
        _record("chat", "chat:1", 0, "hello"),
    ],
    [
        _heartbeat(2),
        _record("event", "event:a", 4, {"n": 4}),
        _page("event", 2, _record("event", "event:a", 3, {"n": 3})),
        _page(
            "event", 3, _record("event", "event:a", 4, {"n": 4}), [b"", *_heartbeat(0)[1:2], b""]
        ),
        _values(_record("chat", "chat:1", 0, 5), _record("task", "task:2", 1, TASK, "bob")),
    ],
    [
        _heartbeat(2),
        _page(
            "revocation",
            0,
            _record("revocation", "revocation:user", 1, {"username": "alice", "before": 5}),
            _record("revocation", "revocation:token", 2, {"token_id": "x", "until": NOW_MS}),
        ),
        _record("revocation", "revocation:all", 3, {"before": 5}),
        _record("addressed", "addressed:edge:disconnect", 1, {"code": 4003}, "alice"),
    ],
]
PRESENCE = [
    [
        _record(EDGE_STATE, "edge-state:aaaa", 0, BEAT),
        _record(EDGE_STATE, "edge-state:aaaa:7", 0, MEMBERS),
        _record(EDGE_STATE, "edge-state:bbbb:7", 0, MEMBERS),
        _record(EDGE_STATE, "edge-state:aaaa", 0, {"versions": None}),
    ]
]
DIALOGUE = [
    [
        [b"\x01event:"],
        [pack_message(reply)],
        [b"\x01task:"],
        [pack_notice(Acknowledged(5, 2, b"proof"))],
        [pack_notice(Resend(5, 3))],
        [pack_message(reply)],
        [b"\x00event:"],
    ]
    for reply in (
        HelloReply(
            id=1,
            epoch=EPOCH,
            journaled_kinds=("event", "task"),
            tips={"event": 5},
            heartbeat_s=1.0,
            sequence=0,
            emitter_epoch=5,
            drops=1,
        ),
    )
]
EVERYTHING = Pattern("", exact=False)
REPLIES: dict[type[Request], bytes] = {
    HelloRequest: DIALOGUE[0][1][0],
    ReplayRequest: LINK_CONVERSATIONS[1][2][1],
    RetainedRequest: LINK_CONVERSATIONS[1][4][1],
    DemandRequest: pack_message(DemandReply(id=1, version=5)),
    WatchedRequest: pack_message(
        WatchedReply(id=1, epoch=1, after=0, version=1, snapshot=True, watch=bytes(16), next=5)
    ),
}


def _warn(_cause: str, text: str, *args: object) -> None:
    assert text % args


class _Internal:
    """Takes states of workers, and commands, as a worker does."""

    def __init__(self, manager: ConnectionManager | None = None) -> None:
        self._disconnection = Disconnection(
            manager or EdgeCore().manager, ConnectionAges(lambda: NOW_MS)
        )
        self._view = PresenceView(2.0)
        self._peers = Peers("own", self._view)

    def command(self, topic: Topic, relayed_at: int, envelope: Envelope) -> None:
        """Do as the command says."""
        self._disconnection.command(topic, relayed_at, envelope)

    def state(self, topic: Topic, data: object, *, is_live: bool) -> None:
        """Take a value, and look at what is shown."""
        self._peers.take(topic.text.partition(":")[2], data, 1.0, is_live=is_live)
        for worker in self._peers.take_lacking():
            selector = Pattern(f"{EDGE_STATE}:{worker}:", exact=False)
            RetainedRequest(id=1, prefix=selector.prefix)
        for change in self._view.take_changes(1.0):
            assert list(presence_frames.changes(change, NOW_MS))
        for shown in self._view.topics():
            users, count = self._view.users(shown), self._view.count(shown)
            assert presence_frames.state(shown, users, count, NOW_MS)


class _Client(RecordingConnection):
    """A client whose connection a command may close."""

    def close(self, close: Close) -> None:
        """Make the frame."""
        assert close_frame(close)


class _Taker:
    """Takes revocations, and has no connection to close."""

    def revoked(self, revocation: object) -> None:
        """Take no notice."""

    def journal_lacks(self, revocations: object) -> None:
        """Take no notice."""


def _follow(data: bytes) -> None:
    """Have an edge follow a relay; afterwards it must be able to say hello."""
    edge = EdgeCore()
    inbound = edge.inbound
    inbound._warn = _warn
    inbound.internal = _Internal(edge.manager)
    inbound.revocations = RevocationStream(
        Revocations(), _Taker(), edge.stats, lambda: NOW_MS, _warn
    )
    client = _Client("alice", "admin")
    edge.manager.connect(client)
    edge.manager.subscribe(client, EVERYTHING, (EVERYTHING,))
    is_followed = False
    for frames in _messages(data):
        topic = frames[0] if frames else b""
        try:
            if topic[:1] == b"!":
                is_followed = _take_heartbeat(inbound, frames, is_followed=is_followed)
            elif topic[:1] == b"?":
                _take_reply(inbound, frames)
            else:
                inbound.take_event(frames)
        except WireError:
            continue
        inbound.repairs_due()
    edge.manager.flush()
    assert all(isinstance(each, dict) for each in client.take())
    if (place := inbound.place) is not None:
        HelloRequest(id=1, role="edge", name="fuzz", epoch=place.epoch, heads=place.heads)


def _take_heartbeat(inbound: Inbound, frames: list[bytes], *, is_followed: bool) -> bool:
    if len(frames) != 3:
        return is_followed
    stamp, heartbeat = unpack_stamp(frames[1]), unpack_heartbeat(frames[2])
    if not is_followed or inbound.is_rolled_back(stamp.epoch, heartbeat):
        inbound.synchronize(stamp.epoch, heartbeat, has_clients=is_followed)
    else:
        inbound.take_heartbeat(heartbeat)
    return True


def _take_reply(inbound: Inbound, frames: list[bytes]) -> None:
    stream = frames[0][1:].decode(errors="replace")
    if stream:
        reply = unpack_reply(frames[-1], ReplayRequest)
        if isinstance(reply, ReplayReply):
            inbound.take_replay(stream, reply)
    else:
        values = unpack_reply(frames[-1], RetainedRequest)
        if isinstance(values, RetainedReply):
            RetainedRequest(id=1, prefix="", after=values.next)
            inbound.take_retained(values.items)


def _take_states(data: bytes) -> None:
    internal = _Internal()
    for frames in _messages(data):
        try:
            topic, _, payload = frames
            envelope = unpack_envelope(payload, EDGE_STATE)
            internal.state(decode_topic(topic), envelope.data, is_live=True)
        except (WireError, ValueError) as error:
            # A wrong number of frames, which never gets so far.
            if not isinstance(error, WireError) and "unpack" not in str(error):
                raise


def _talk(data: bytes) -> None:
    """Have an emitter talk to a relay; afterwards it must be able to say hello."""
    outbox = Outbox()
    for number in range(1, 6):
        outbox.add([outgoing(number)])
    dialogue = Dialogue("fuzz", outbox)
    for number, frames in enumerate(_messages(data)):
        frame, now = frames[-1] if frames else b"", float(number)
        if dialogue.hello_is_due(now):
            Greeting.of(outbox, dialogue.relay_epoch).request(1, IDENTITY)
            dialogue.on_hello_sent(now)
        if dialogue.is_open:
            dialogue.on_events_sent(now)
            outbox.take_unsent(3)
        try:
            if frame[:1] in (b"\0", b"\1"):
                dialogue.on_subscription(frame)
            elif isinstance(notice := unpack_notice(frame), Acknowledged | Resend):
                dialogue.on_notice(notice, now)
            elif isinstance(reply := unpack_reply(frame, HelloRequest), HelloReply):
                dialogue.on_hello_accepted(reply, now)
            elif isinstance(reply, ErrorReply):
                dialogue.on_hello_refused(reply.code, reply.message)
        except WireError:
            continue
        dialogue.report_to_send(now)
    Greeting.of(outbox, dialogue.relay_epoch).request(1, IDENTITY)


def _messages(data: bytes) -> list[list[bytes]]:
    """Return the messages of a conversation; whatever else is in it is left out."""
    try:
        found = msgpack.unpackb(data, strict_map_key=False)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return []
    messages = found if isinstance(found, list) else []
    return [
        [frame for frame in each if isinstance(frame, bytes)]
        for each in messages
        if isinstance(each, list)
    ]


def _changed_conversation(chance: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change a message or two, or their order."""
    messages = _messages(data)
    flat = [frame for each in others for frames in _messages(each) for frame in frames]
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(messages))
        match chance.randrange(8):
            case 0:
                messages.insert(at, chance.choice(messages))
            case 1 if len(messages) > 1:
                del messages[at]
            case 2:
                chance.shuffle(messages)
            case _:
                messages[at] = changed_frames(chance, messages[at] or [b""], flat)
    packed: bytes = msgpack.packb(messages)
    return packed


def _conversations(parse: Callable[[bytes], object], samples: Sequence[object]) -> Parser:
    return Parser(parse, [msgpack.packb(each) for each in samples], _changed_conversation)


LINK_PARSERS = {
    **{
        f"reply to {request.__name__}": Parser(partial(unpack_reply, request=request), [sample])
        for request, sample in REPLIES.items()
    },
    "following a relay": _conversations(_follow, LINK_CONVERSATIONS),
    "states of workers": _conversations(_take_states, PRESENCE),
    "dialogue of an emitter": _conversations(_talk, DIALOGUE),
}
