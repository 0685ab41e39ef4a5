"""`CallService`: calls and results between the peers of the control socket."""

from relay.call_service import CallService
from relay.wire.calls import (
    CallNotice,
    CallRequest,
    ResultNotice,
    ResultRequest,
    ServeRequest,
    read_call_notice,
)
from relay.wire.control import ErrorReply, unpack_map

ALICES, BOBS, MANAGER, OTHER = b"edge of alice", b"edge of bob", b"manager", b"other manager"


class Peers:
    """Those of one relay, which all read what they are told, except for those that are away."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, CallNotice | ResultNotice]] = []
        self.away: set[bytes] = set()
        self.service = CallService(self._tell)

    def _tell(self, peer: bytes, frame: bytes) -> bool:
        if peer in self.away:
            return False
        notice = read_call_notice(unpack_map(frame))
        assert notice is not None
        self.told.append((peer, notice))
        return True

    def serve(self, peer: bytes) -> None:
        self.service.serve(peer, ServeRequest(id=1, name="m", methods=("slow",)), 0.0)

    def call(self, caller: bytes) -> CallNotice | None:
        """The call as a manager got it; None if it was refused."""
        before = len(self.told)
        request = CallRequest(
            id=1, method="slow", params=b"\xc0", username="u", role="user", timeout_s=60.0
        )
        if isinstance(self.service.call(caller, request, 0.0), ErrorReply):
            return None
        _, notice = self.told[before]
        assert isinstance(notice, CallNotice)
        return notice


def test_an_answer_to_a_call_of_the_relay_before_reaches_nobody() -> None:
    before, after = Peers(), Peers()
    for each in (before, after):
        each.serve(MANAGER)
    late, current = before.call(ALICES), after.call(BOBS)
    assert late is not None
    assert current is not None
    after.service.result(MANAGER, ResultRequest(id=2, call=late.call, result=b"\xa5alice"))
    assert [peer for peer, _ in after.told] == [MANAGER]
    after.service.result(MANAGER, ResultRequest(id=3, call=current.call, result=b"\xa3bob"))
    assert after.told[-1] == (BOBS, ResultNotice(1, b"\xa3bob", None))


def test_a_call_goes_to_another_process_if_the_first_is_gone() -> None:
    peers = Peers()
    peers.serve(MANAGER)
    peers.serve(OTHER)
    peers.away.add(MANAGER)
    assert peers.call(ALICES) is not None
    assert [peer for peer, _ in peers.told] == [OTHER]
    peers.away.add(OTHER)
    assert peers.call(ALICES) is None
    assert peers.service.waiting(0.0) == 1, "nobody waits for a refused call"
