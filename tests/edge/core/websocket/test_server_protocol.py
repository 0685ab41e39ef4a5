"""`ServerProtocol` beside a model of its transport: every order of events, without sockets."""

import gc
import weakref

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from edge.core.stats import EdgeStats
from edge.core.websocket.close_codes import CloseCode, CloseCodes
from edge.core.websocket.frames import Opcode, split_frames, text_frame
from edge.core.websocket.reader import FrameReader, ProtocolViolation
from edge.core.websocket.send_queue import Budget
from edge.core.websocket.server_protocol import (
    NEXT_STATES,
    NEXT_WRITINGS,
    NO_FD,
    PING,
    Sending,
    ServerProtocol,
    State,
    Writing,
)
from tests.support.websocket_frames import CLOSE, TEXT, client_frame

FD = 7
OPENING = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
MAX_QUEUED_BYTES = 3_000
MAX_MESSAGE_BYTES = 1_000


class Peer:
    """The bytes that were written, read as the client reads them."""

    def __init__(self, opening: bytes) -> None:
        self._opening = opening
        self.frames: list[tuple[Opcode, bytes]] = []

    @property
    def is_closed(self) -> bool:
        """Whether a close frame has come."""
        return bool(self.frames) and self.frames[-1][0] is Opcode.CLOSE

    def read(self, data: bytes) -> list[bytes]:
        """Read bytes; return the payloads of the text frames among them."""
        if not data:
            return []
        assert not self.is_closed, "nothing follows a close frame"
        if self._opening:
            assert data.startswith(self._opening), "the answer to the handshake comes first"
            data, self._opening = data.removeprefix(self._opening), b""
        frames = [(opcode, payload) for opcode, _, payload in split_frames(data)]
        self.frames += frames
        assert Opcode.CLOSE not in [opcode for opcode, _ in self.frames[:-1]]
        return [payload for opcode, payload in frames if opcode is Opcode.TEXT]


class Recorder:
    """A shell that remembers the last words to a client that is too slow."""

    open_fd = NO_FD

    def __init__(self, max_queued_bytes: int, opening: bytes = b"") -> None:
        self.stats = EdgeStats()
        sending = Sending(self.stats, Budget(10**9), max_queued_bytes)
        self.ws = ServerProtocol(self, sending, FrameReader(1), opening, fd=FD)
        self.last_words = b""

    @property
    def queued_bytes(self) -> int:
        """As `Client` does."""
        return self.ws.queued_bytes

    def close_too_slow(self) -> None:
        """As `Client` does."""
        self.last_words = self.ws.close_too_slow()


def is_late(machine: "ServerProtocolMachine") -> bool:
    """Whether enough was sent for the connection to end: most runs must see a full transport."""
    return machine.is_connected and machine.sent > 8


class ServerProtocolMachine(RuleBasedStateMachine):
    """Plays the shell: writes what it is given, and fills and empties a transport at will."""

    open_fd = NO_FD

    def __init__(self) -> None:
        super().__init__()
        self.stats = EdgeStats()
        self.budget = Budget(10**9)
        self.sent = 0
        self.waiting: list[tuple[str | None, bytes]] = []
        """The payloads that must come next, in order, with the topics that may be replaced."""
        self.is_turn_scheduled = False
        self.is_connected = True
        self.pings = 0

    @initialize(opening=st.sampled_from([b"", OPENING]))
    def open(self, opening: bytes) -> None:
        sending = Sending(self.stats, self.budget, MAX_QUEUED_BYTES)
        self.ws = ServerProtocol(self, sending, FrameReader(MAX_MESSAGE_BYTES), opening, fd=FD)
        self.peer = Peer(opening)
        self.is_turn_scheduled = bool(opening)

    # The shell.

    @property
    def queued_bytes(self) -> int:
        """As the client's that `SendQueue` knows."""
        return self.ws.queued_bytes

    def close_too_slow(self) -> None:
        """As the client's that `SendQueue` knows."""
        self.write(self.ws.close_too_slow())

    def write(self, data: bytes) -> None:
        """Write, and check that text frames come in the order in which they were sent."""
        for payload in self.peer.read(data):
            assert payload == self.waiting.pop(0)[1]
        if self.peer.is_closed or self.ws.state is not State.OPEN:
            self.waiting.clear()

    def payload(self, size: int) -> bytes:
        self.sent += 1
        return b"%06d" % self.sent + b"x" * size

    # Frames to the client.

    @rule(size=st.sampled_from([0, 200, 1_000]))
    def send(self, size: int) -> None:
        payload = self.payload(size)
        if self.ws.state is State.OPEN:
            self.waiting.append((None, payload))
        self.is_turn_scheduled |= self.ws.send(text_frame(payload))

    @rule(topic=st.sampled_from(["live:a", "live:b"]), size=st.sampled_from([0, 1_000]))
    def send_live(self, topic: str, size: int) -> None:
        payload = self.payload(size)
        if self.ws.state is State.OPEN:
            is_full = self.ws.writing is Writing.FULL
            if is_full:
                self.waiting = [item for item in self.waiting if item[0] != topic]
            self.waiting.append((topic if is_full else None, payload))
        self.is_turn_scheduled |= self.ws.send_live(topic, text_frame(payload))

    @precondition(lambda self: self.open_fd != NO_FD)
    @rule()
    def write_a_batch_past_the_transport(self) -> None:
        assert self.waiting == [], "a batch must overtake nothing"
        payload = self.payload(10)
        self.stats.written += 1
        self.waiting.append((None, payload))
        self.write(text_frame(payload))

    @rule()
    def end_turn(self) -> None:
        self.is_turn_scheduled = False
        self.write(self.ws.end_turn())
        assert self.ws.writing is not Writing.TURN

    # The transport.

    @precondition(lambda self: self.is_connected)
    @rule(held=st.integers(0, 500))
    def fill(self, held: int) -> None:
        self.ws.fill(held)

    @precondition(lambda self: self.ws.writing is Writing.FULL)
    @rule(chunks=st.integers(0, 2))
    def empty(self, chunks: int) -> None:
        """The transport takes some chunks, and is full again unless that was all."""
        self.ws.set_held(0)
        for _ in range(chunks):
            data = self.ws.refill()
            self.write(data)
            if self.ws.writing is Writing.FREE:
                assert self.waiting == []
                return
        self.ws.set_held(100)

    @precondition(is_late)
    @rule()
    def lose(self) -> None:
        self.ws.lose()
        self.ws.lose()
        self.waiting.clear()
        self.is_connected = False

    # Frames from the client.

    @precondition(lambda self: self.is_connected)
    @rule(count=st.integers(1, 3))
    def client_pings(self, count: int) -> None:
        for number in range(count):
            for message in self.ws.reader.feed(client_frame(0x89, b"%d" % number)):
                assert message is not None
                self.pings += 1
                pong = self.ws.pong(message.payload)
                assert pong == b"" or self.ws.writing is Writing.FREE
                self.write(pong)

    @precondition(lambda self: self.is_connected)
    @rule()
    def keepalive(self) -> None:
        was_open = self.ws.state is State.OPEN
        ping = self.ws.ping()
        assert was_open or ping == b""
        assert ping == b"" or ping.endswith(PING)
        assert not (was_open and self.ws.is_heard)
        self.write(ping)

    @precondition(is_late)
    @rule(payload=st.sampled_from([b"", b"\x03\xe8", b"\x0f\xa1bye", b"\x03", b"\x03\xed"]))
    def client_closes(self, payload: bytes) -> None:
        was_deaf = self.ws.state > State.CLOSING
        messages = list(self.ws.reader.feed(client_frame(CLOSE, payload)))
        if was_deaf:
            assert messages == [], "nothing is parsed any more"
            return
        self.write(self.ws.answer_close(payload))
        assert self.ws.state is State.CLOSED

    @precondition(is_late)
    @rule(
        broken=st.sampled_from(
            [b"\x81\x01x", b"\xc1\x80\0\0\0\0", client_frame(TEXT, b"x" * (MAX_MESSAGE_BYTES + 1))]
        )
    )
    def client_breaks_the_rules(self, broken: bytes) -> None:
        try:
            assert list(self.ws.reader.feed(broken)) == []
        except ProtocolViolation as violation:
            self.write(self.ws.fail(violation.close))
            assert self.ws.state is State.FAILED
        else:
            assert self.ws.state > State.CLOSING

    # The end.

    @precondition(lambda self: self.sent > 8)
    @rule()
    def close(self) -> None:
        was_open, closed = self.ws.state is State.OPEN, sum(self.stats.closed.values())
        data = self.ws.close(CloseCode.TOKEN_EXPIRED.close())
        assert bool(data) == was_open
        assert sum(self.stats.closed.values()) == closed + was_open
        self.write(data)
        assert self.ws.state is not State.OPEN

    @rule()
    def stop_parsing(self) -> None:
        was = self.ws.state
        self.ws.stop_parsing()
        assert self.ws.state is (State.FAILED if was is State.CLOSING else was)

    @invariant()
    def every_frame_is_accounted_for(self) -> None:
        stats = self.stats
        fates = stats.written + stats.disconnected + stats.slow_consumer + stats.conflated
        assert fates + self.ws.waiting == self.sent
        assert self.ws.waiting == len(self.waiting)

    @invariant()
    def the_states_agree(self) -> None:
        ws = self.ws
        assert (ws.writing is Writing.ENDED) == (ws.state is not State.OPEN)
        assert (self.open_fd == FD) == (ws.writing is Writing.FREE)
        assert ws.writing is not Writing.TURN or self.is_turn_scheduled
        assert self.peer.is_closed or ws.state in (State.OPEN, State.CLOSED)

    @invariant()
    def memory_is_counted_and_bounded(self) -> None:
        assert self.budget.used_bytes == self.ws.queued_bytes
        assert len(self.budget) == (self.ws.writing is Writing.FULL)
        pongs = sum(opcode is Opcode.PONG for opcode, _ in self.peer.frames)
        assert pongs <= self.pings


TestServerProtocol = ServerProtocolMachine.TestCase
TestServerProtocol.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_the_tables_lead_from_every_state_to_the_end_and_never_back() -> None:
    assert len(NEXT_STATES) == len(State)
    assert len(NEXT_WRITINGS) == len(Writing)
    assert all(after > state for state in State for after in NEXT_STATES[state])
    assert all(State.CLOSED in NEXT_STATES[state] for state in State if state is not State.CLOSED)
    assert all(
        Writing.ENDED in NEXT_WRITINGS[each] for each in Writing if each is not Writing.ENDED
    )


def test_a_transition_that_the_table_lacks_is_a_fault() -> None:
    ws = Recorder(1).ws
    ws.lose()
    with pytest.raises(AssertionError):
        ws._enter_state(State.OPEN)


@pytest.mark.parametrize("is_closed_first", [False, True])
def test_the_answer_to_the_handshake_waits_for_a_transport_that_is_full_already(
    is_closed_first: bool,
) -> None:
    """As on a connection whose last HTTP response is still being read."""
    shell = Recorder(10**6, OPENING)
    ws = shell.ws
    ws.fill(1000)
    assert ws.end_turn() == b""
    rest = ws.close(CloseCode.TRY_AGAIN_LATER.close()) if is_closed_first else ws.refill()
    assert rest.startswith(OPENING)
    assert ws.refill() == b""
    assert (shell.open_fd == FD) != is_closed_first


def test_a_client_that_compresses_gets_no_batches_as_they_are() -> None:
    shell = Recorder(1)
    assert shell.open_fd == FD
    sending = Sending(shell.stats, Budget(1), 1)
    ws = ServerProtocol(shell, sending, FrameReader(1), fd=FD, compresses=True)
    assert ws.writing is Writing.FREE
    assert shell.open_fd == NO_FD
    assert ws.fd == FD


def test_legacy_codes_are_sent_and_the_others_counted() -> None:
    shell = Recorder(1)
    sending = Sending(shell.stats, Budget(1), 1, close_codes=CloseCodes.LEGACY)
    ws = ServerProtocol(shell, sending, FrameReader(1))
    assert ws.close(CloseCode.TOO_MANY_MESSAGES.close()) == b"\x88\x13\x03\xf5too many messages"
    assert shell.stats.closed == {4029: 1}


def test_the_clients_own_code_is_answered_with_the_same_also_under_legacy_codes() -> None:
    shell = Recorder(1)
    sending = Sending(shell.stats, Budget(1), 1, close_codes=CloseCodes.LEGACY)
    ws = ServerProtocol(shell, sending, FrameReader(1))
    assert ws.answer_close(b"\x0f\xa1") == b"\x88\x02\x0f\xa1"


def test_the_first_frame_of_a_turn_has_its_end_scheduled() -> None:
    ws = Recorder(100).ws
    assert [ws.send(b"1"), ws.send(b"2"), ws.send_live("live:a", b"3")] == [True, False, False]
    ws.fill(1)
    assert [ws.send(b"4"), ws.send_live("live:a", b"5")] == [False, False]
    assert (ws.refill(), ws.waiting) == (b"12345", 0)
    assert (ws.refill(), ws.writing) == (b"", Writing.FREE)


def test_a_client_that_does_not_read_is_answered_its_newest_ping_alone() -> None:
    ws = Recorder(100).ws
    ws.fill(1)
    assert [ws.pong(b"old"), ws.pong(b"new")] == [b"", b""]
    assert list(split_frames(ws.refill())) == [(Opcode.PONG, 5, b"new")]
    assert ws.refill() == b""


def test_a_client_counts_as_heard_until_the_first_ping() -> None:
    ws = Recorder(100).ws
    assert ws.is_heard
    assert ws.ping() == PING
    assert not ws.is_heard


def test_a_connection_closes_once_and_then_waits_for_the_client() -> None:
    shell, goodbye = Recorder(100), client_frame(CLOSE, b"\x0f\xa1")
    ws = shell.ws
    assert ws.close_too_slow() == b"", "no frame waits"
    assert ws.close(CloseCode.TOKEN_EXPIRED.close()) != b""
    after = ws.close(CloseCode.GOING_AWAY.close()), ws.ping(), ws.pong(b"?"), ws.close_too_slow()
    assert set(after) == {b""}
    assert shell.stats.closed == {4001: 1}
    assert list(ws.reader.feed(goodbye)) == [(Opcode.CLOSE, b"\x0f\xa1")]
    assert (ws.answer_close(b"\x0f\xa1"), ws.state) == (b"", State.CLOSED)


def test_a_client_that_closes_is_answered_with_its_code() -> None:
    ws = Recorder(100).ws
    assert list(split_frames(ws.answer_close(b"\x03\xe8"))) == [(Opcode.CLOSE, 4, b"\x03\xe8")]
    assert (ws.state, ws.writing) == (State.CLOSED, Writing.ENDED)


def test_a_lost_connection_is_freed_at_once() -> None:
    """Not with the garbage, which is collected rarely: many clients may be lost together."""
    shell = Recorder(100)
    lost = weakref.ref(shell)
    shell.ws.lose()
    gc.disable()
    try:
        del shell
        assert lost() is None
    finally:
        gc.enable()


def test_an_event_of_1_mib_waits_and_the_next_closes_the_client() -> None:
    shell, event = Recorder(2 * 2**20), text_frame(b"x" * 2**20)
    ws, stats = shell.ws, shell.stats
    ws.fill(100)
    ws.send(event)
    assert ws.queued_bytes == len(event) + 100
    ws.send(event)
    assert [(opcode, payload[:2]) for opcode, _, payload in split_frames(shell.last_words)] == [
        (Opcode.CLOSE, (4008).to_bytes(2))
    ]
    assert (stats.slow_consumer, stats.disconnected, ws.queued_bytes) == (2, 0, 0)
