"""One audience against a model: each connection receives its frames in the order of arrival."""

from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from edge.core.hub.audience import (
    MAX_BATCH_BYTES,
    Audience,
    Connection,
    FrameBatch,
    deliver_to_each,
)
from edge.core.websocket.frames import FrameDeflater, text_frame
from tests.edge.recorders import RecordingConnection

Frames = list[tuple[str | None, bytes]]


class AudienceMachine(RuleBasedStateMachine):
    """Every connection has the list of frames that it must have received after a flush."""

    members = Bundle("members")

    def __init__(self) -> None:
        super().__init__()
        self.audience = Audience(frozenset())
        self.expected: dict[RecordingConnection, Frames] = {}
        self.sent = 0

    @rule(target=members)
    def add(self) -> RecordingConnection:
        connection = RecordingConnection()
        self.audience.add(connection)
        self.expected[connection] = []
        return connection

    @rule(connection=consumes(members))
    def remove(self, connection: RecordingConnection) -> None:
        self.audience.remove(connection)
        assert connection.record == self.expected.pop(connection), "it has what came before"

    @rule(size=st.sampled_from([1, MAX_BATCH_BYTES // 2, MAX_BATCH_BYTES]), live=st.booleans())
    def gather(self, size: int, live: bool) -> None:
        self.sent += 1
        frame = b"%d" % self.sent + bytes(size)
        topic = "live:a" if live else None
        self.audience.gather(frame, topic)
        for expected in self.expected.values():
            expected.append((topic, frame))

    @rule(connection=members)
    def send_alone(self, connection: RecordingConnection) -> None:
        """As the manager does with a reply."""
        self.audience.flush_to(connection)
        assert connection.record == self.expected[connection], "what was gathered comes first"
        self.sent += 1
        frame = b"reply %d" % self.sent
        connection.send(frame)
        self.expected[connection].append((None, frame))

    @rule()
    def flush(self) -> None:
        self.audience.flush(deliver_to_each)
        for connection, expected in self.expected.items():
            assert connection.record == expected

    @invariant()
    def a_connection_has_the_beginning_of_its_frames(self) -> None:
        for connection, expected in self.expected.items():
            assert connection.record == expected[: len(connection.record)]

    @invariant()
    def frames_that_were_not_sent_are_counted(self) -> None:
        assert self.audience.waiting == sum(
            len(expected) - len(connection.record) for connection, expected in self.expected.items()
        )
        assert len(self.audience) == len(self.expected)


TestAudienceAgainstModel = AudienceMachine.TestCase
TestAudienceAgainstModel.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None
)


def test_all_members_are_handed_the_same_batches_and_early_ones_the_rest() -> None:
    delivered: list[tuple[set[Connection], list[bytes]]] = []

    def deliver(connections: Iterable[Connection], batch: FrameBatch) -> None:
        delivered.append((set(connections), batch.frames))

    audience = Audience(frozenset())
    assert audience.flush(deliver) == 0
    one, two, early = (RecordingConnection() for _ in range(3))
    for connection in (one, two, early):
        audience.add(connection)
    assert audience.gather(b"1", None)
    audience.flush_to(early)
    assert not audience.gather(b"2", None), "only the first frame makes the audience pending"
    assert audience.flush(deliver) == 2
    assert delivered == [({one, two}, [b"1", b"2"])]
    assert early.frames == [b"1", b"2"]


def test_a_batch_is_compressed_once_frame_by_frame() -> None:
    deflater = FrameDeflater()
    frames = [text_frame(b"x" * 1000), text_frame(b"y" * 1000)]
    batch = FrameBatch(frames, [None, None])
    deflated = batch.deflated(deflater)
    assert deflated == b"".join(deflater.deflate(frame) for frame in frames)
    assert batch.deflated(deflater) is deflated
