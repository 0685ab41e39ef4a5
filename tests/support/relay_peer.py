"""A client of the control socket that reads counters and the journal (protocol section 4)."""

import itertools
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import zmq

from relay.wire.control import (
    ReplayReply,
    ReplayRequest,
    Reply,
    Request,
    StatsReply,
    StatsRequest,
    pack_message,
    reply_id,
    unpack_reply,
)

ANSWER_TIMEOUT_MS = 20_000


class RelayPeer:
    """One connection to the control socket. It also reaches a relay that was restarted."""

    def __init__(self, control: str) -> None:
        self._ids = itertools.count(1)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.RCVTIMEO, ANSWER_TIMEOUT_MS)
        self._socket.connect(control)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, request: Request) -> Reply:
        """Return the relay's reply. Raises `zmq.Again` after `ANSWER_TIMEOUT_MS` without one."""
        self._socket.send(pack_message(request))
        while reply_id(frame := self._socket.recv()) != request.id:
            pass
        return unpack_reply(frame, type(request))

    def stats(self) -> dict[str, Any]:
        """The relay's counters."""
        reply = self.ask(StatsRequest(id=next(self._ids)))
        assert isinstance(reply, StatsReply), reply
        return reply.stats

    def page(self, stream: str, after: int = 0) -> ReplayReply:
        """The events after an offset; none if retention is about to remove what is asked for."""
        page = self.ask(ReplayRequest(id=next(self._ids), stream=stream, after=after))
        assert isinstance(page, ReplayReply), page
        return page

    def replay(self, stream: str) -> Iterator[ReplayReply]:
        """Yield the journal of `stream` from its first event to its tip, page by page."""
        after = 0
        while True:
            page = self.page(stream, after)
            if not page.items:
                assert after == page.tip, f"{stream}: nothing after {after}, the tip is {page.tip}"
                return
            yield page
            after += len(page.items)

    def close(self) -> None:
        """End the connection."""
        self._context.destroy(linger=0)
