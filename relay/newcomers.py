"""`Newcomers`: the connections that libzmq accepts for the relay, as far as descriptors allow.

Without a descriptor for a connection that waits, libzmq tries to accept it again and again, at full
speed and without a word. So a connection on one of the last descriptors is cut after a moment, and
its peer tries again. The moment is long enough for `event-relay stats`.
"""

import logging
import math
import struct
from collections import deque
from collections.abc import Collection, Mapping

import zmq

from relay.borrowed_socket import shut_down
from relay.shared.descriptor_room import DescriptorRoom
from relay.shared.logs import LimitedLog
from relay.shared.transport import Socket

STAY_S = 2.0
CHECK_INTERVAL_S = 0.25
MAX_AT_ONCE = 1_000
"""Connections looked at before the relay's own sockets are served."""
_ACCEPTED = struct.Struct("=HI")
"""Number of the event, and its value: here the descriptor of the connection."""

logger = logging.getLogger(__name__)


class Newcomers:
    """Looks at each accepted connection. libzmq reports one by its descriptor."""

    def __init__(self, context: "zmq.Context[Socket]", room: DescriptorRoom) -> None:
        self._context = context
        self._room = room
        self._reports: list[Socket] = []
        self._cut_at: deque[tuple[float, int]] = deque()
        """Monotonic seconds and descriptor of connections that are to end, oldest first."""
        self._log = LimitedLog(logger)

    @property
    def reports(self) -> Collection[Socket]:
        """The sockets on which libzmq reports; `look` reads them."""
        return self._reports

    def are_to_be_looked_at(self, ready: Mapping[Socket | int, int]) -> bool:
        """Return whether libzmq has reported, by the `ready` sockets, or connections wait."""
        return bool(self._cut_at) or any(reports in ready for reports in self._reports)

    def wait_s(self) -> float:
        """Return the seconds within which `look` is to be called, without a report too."""
        return CHECK_INTERVAL_S if self._cut_at else math.inf

    def watch(self, listening: Socket) -> None:
        """Be told of what `listening` accepts. Called before it is bound."""
        listening.setsockopt(zmq.BACKLOG, self._room.backlog)
        address = f"inproc://newcomers-{len(self._reports)}"
        listening.monitor(address, zmq.EVENT_ACCEPTED)
        reports = self._context.socket(zmq.PAIR)
        # libzmq would stand still rather than drop a report. They are as few as connections.
        reports.setsockopt(zmq.RCVHWM, 0)
        reports.connect(address)
        self._reports.append(reports)

    def look(self, now: float) -> int:
        """Read the reports, and cut the connections whose time is over.

        Returns the number of further connections that are refused.
        """
        refused = 0
        for reports in self._reports:
            for _ in range(MAX_AT_ONCE):
                try:
                    event, _endpoint = reports.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                _number, descriptor = _ACCEPTED.unpack(event)
                if self._room.is_reserved(descriptor):
                    refused += 1
                    self._cut_at.append((now + STAY_S, descriptor))
        lingering = self._room.backlog
        while self._cut_at and (self._cut_at[0][0] <= now or len(self._cut_at) > lingering):
            # By now it may be another's. All connections on reserved descriptors are to end, and a
            # file is not harmed.
            shut_down(self._cut_at.popleft()[1])
        if refused:
            self._log.error(
                "refused",
                "connections are refused: this process may open %d file descriptors;"
                " raise the limit (LimitNOFILE, ulimit -n)",
                self._room.limit,
            )
        return refused
