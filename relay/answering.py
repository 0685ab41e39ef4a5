"""`Answering`: the requests of the control socket, each peer in its turn and within its share."""

import logging
import math
import time

from relay.control import ControlService
from relay.core.counters import RelayCounters
from relay.net.peer import Peer
from relay.net.port import Port
from relay.replay import Replay
from relay.shared.logs import LimitedLog
from relay.shared.time_share import TimeShare
from relay.wire.control import Reply, pack_message
from relay.zmtp.frames import pack_message as pack_frames

MAX_AT_ONCE = 16
"""Requests answered before the other sockets are served, one of each peer. A reply has at most
about 1 MiB."""
TURN_S = 0.001
"""No further request is answered in a turn after this time."""
MAX_REPLAYS = 16
"""Pages that are read in pieces at the same time; a further one has one piece only."""
SHARE_OF_PEER = TimeShare(0.1, burst_s=0.2)
"""Of the processor, for the requests of one peer. An edge that replays gets about 50 MiB/s; the
requests of a peer that asks for more wait in the kernel."""
SHARE_OF_ALL = TimeShare(0.3, burst_s=0.1)
"""Of the processor, for the requests of all peers."""

logger = logging.getLogger(__name__)


class Answering:
    """The relay's loop calls `serve`, at the latest at `due_at` (monotonic, in seconds)."""

    def __init__(self, control: Port, service: ControlService, counters: RelayCounters) -> None:
        self._control = control
        self._service = service
        self._counters = counters
        self._replays: dict[Peer, Replay] = {}
        """Those that are not complete, one of a peer, which is not read meanwhile. The one whose
        turn it is first."""
        self._paid_at = 0.0
        """For all requests; see `relay.shared.time_share`."""
        self._log = LimitedLog(logger)

    def due_at(self) -> float:
        """Return when there is something to do, infinity if only a request can tell.

        While the share of all is used up, no request is read.
        """
        held_until = SHARE_OF_ALL.rests_until(self._paid_at)
        self._control.holds = held_until > time.monotonic()
        if self._control.holds:
            return held_until
        return min(map(_continues_at, self._replays), default=math.inf)

    def serve(self) -> None:
        """Answer some requests."""
        if self._control.holds:
            return
        until = time.monotonic() + TURN_S
        self._go_on(until)
        left = MAX_AT_ONCE
        for peer, messages in self._control.receive(share=1, turn_s=until - time.monotonic()):
            # Of the processor: a slow disk is no fault of the peer.
            began = time.thread_time()
            for frames in messages:
                self._begin(peer, frames)
            self._charge(peer, time.thread_time() - began)
            left -= 1
            if not left:
                return

    def _begin(self, peer: Peer, frames: list[bytes]) -> None:
        try:
            request = frames[0] if len(frames) == 1 else b""
            assert peer.rights is not None, "its connection is open"
            answer = self._service.answer(peer.id, request, peer.rights)
            if isinstance(answer, Replay):
                if len(self._replays) < MAX_REPLAYS:
                    self._replays[peer] = answer
                    self._control.hold_back(peer)
                    return
                answer = answer.reply()
            self._send(peer, answer)
        except Exception:  # noqa: BLE001 - logged
            # A fault of ours; one request must not end the relay for everybody.
            self._log.exception("answer", "a request could not be answered")

    def _go_on(self, until: float) -> None:
        """Read the next pieces of replays, of one peer after the other."""
        for peer in tuple(self._replays):
            now = time.monotonic()
            if now >= until:
                return
            if peer.is_ended:
                del self._replays[peer]
            if peer.is_ended or _continues_at(peer) > now:
                continue
            # Behind the others, unless it is over.
            replay = self._replays.pop(peer)
            began = time.thread_time()
            if self._is_over(peer, replay):
                self._control.let_go(peer)
            else:
                self._replays[peer] = replay
            self._charge(peer, time.thread_time() - began)

    def _is_over(self, peer: Peer, replay: Replay) -> bool:
        """Read the next piece; return whether `replay` is over."""
        try:
            if (reply := self._service.go_on(replay)) is None:
                return False
            self._send(peer, reply)
        except Exception:  # noqa: BLE001 - logged
            # As above.
            self._log.exception("replay", "a replay could not be continued")
        return True

    def _send(self, peer: Peer, reply: Reply) -> None:
        self._control.send(peer, pack_frames((pack_message(reply),)))

    def _charge(self, peer: Peer, cost_s: float) -> None:
        """Have the requests of `peer` wait if they have cost more than its share."""
        now = time.monotonic()
        self._paid_at = SHARE_OF_ALL.charge(self._paid_at, cost_s, now)
        peer.paid_at = SHARE_OF_PEER.charge(peer.paid_at, cost_s, now)
        if (until := _continues_at(peer)) > now:
            self._counters.requests_delayed += 1
            self._control.rest(peer, until)


def _continues_at(peer: Peer) -> float:
    return SHARE_OF_PEER.rests_until(peer.paid_at)
