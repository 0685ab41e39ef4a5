"""`DemandSender`: reports the watched live topics to the relay (protocol section 4).

It has a connection of its own: the lease of the reports must not end because replies with replayed
events fill the other one.
"""

import asyncio
import itertools
import logging
import secrets

from edge.core.hub.demand_log import DemandLog
from edge.upstream.socket import RelaySocket
from relay.shared.logs import LimitedLog
from relay.wire.control import ErrorReply, pack_message, reply_id, unpack_reply
from relay.wire.demand import pack_digests
from relay.wire.demand_messages import DemandReply, DemandRequest
from relay.wire.errors import WireError

MAX_REPLIES = 16
MAX_REPLY_BYTES = 64 * 1024

logger = logging.getLogger(__name__)


class DemandSender:
    """A `DemandReporter` with a socket. One report is unanswered at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: RelaySocket) -> None:
        self._loop = loop
        self._socket = socket
        self._demand = DemandLog()
        self._edge = secrets.token_bytes(16)
        self._numbers = itertools.count(1)
        self._number = 0
        """Of the last request."""
        self._is_sending_soon = False
        self._log = LimitedLog(logger)
        socket.add_reader(self._read)

    @property
    def is_complete(self) -> bool:
        """Whether the relay is told every watched topic."""
        return self._demand.is_complete

    def watch(self, topic: str) -> None:
        """Report that `topic` is watched."""
        self._demand.watch(topic)
        self._send_soon()

    def unwatch(self, topic: str) -> None:
        """Report that `topic` is not watched any more."""
        self._demand.unwatch(topic)
        self._send_soon()

    def relay_restarted(self) -> None:
        """Report everything again: the relay that now answers knows nothing."""
        self._demand.begin_anew()
        self.send()

    def send(self) -> None:
        """Send the report that is due. Called several times a second, and after changes."""
        self._is_sending_soon = False
        report = self._demand.report(self._loop.time())
        if report is None:
            return
        self._number = next(self._numbers)
        request = DemandRequest(
            id=self._number,
            edge=self._edge,
            after=report.after,
            version=report.version,
            watch=pack_digests(report.watch),
            unwatch=pack_digests(report.unwatch),
        )
        if not self._socket.send(pack_message(request)):
            self._demand.was_not_sent()

    def close(self) -> None:
        """Report no more; the lease of the reports ends at the relay."""
        self._socket.close()

    def _send_soon(self) -> None:
        # Once a turn: a client that subscribes to a thousand topics makes one report.
        if not self._is_sending_soon:
            self._is_sending_soon = True
            self._loop.call_soon(self.send)

    def _read(self) -> None:
        for frames in self._socket.messages(MAX_REPLIES, MAX_REPLY_BYTES):
            try:
                self._take(frames[-1])
            except WireError as error:
                self._log.warning("demand", "the relay's reply is not understood: %s", error)

    def _take(self, frame: bytes) -> None:
        if reply_id(frame) not in (0, self._number):
            return
        now = self._loop.time()
        reply = unpack_reply(frame, DemandRequest)
        if isinstance(reply, ErrorReply):
            self._log.warning("refused", "the relay takes no demand: %s", reply.message)
            self._demand.take_refusal(now)
        elif isinstance(reply, DemandReply):
            self._demand.take_reply(reply.version, now)
            self.send()
