"""`LinkLoop`: one turn after another of the link thread, between sockets and mailbox.

The data socket is an XPUB: a PUB that also receives the subscriptions. The relay subscribes to
every journaled kind and to the live topics that somebody watches, so its subscriptions show two
things: that the path is open, and which topics are wanted. When the relay goes, libzmq takes its
subscriptions back.
"""

import contextlib
import math
import time
from collections.abc import Callable

import zmq

from emitters.control_client import ControlClient
from emitters.core.identity import EmitterIdentity
from emitters.link_requests import LinkRequests
from emitters.mailbox import Mailbox
from emitters.sender import EventSender
from relay.shared.transport import Socket
from relay.wire.notices import Acknowledged, DemandNotice, ForbiddenNotice, Resend

READ_BATCH = 1000
"""The most subscriptions read at a time."""


class LinkLoop:
    """Lives in the link thread, as long as its two sockets."""

    def __init__(
        self,
        data: Socket,
        control: Socket,
        mailbox: Mailbox,
        client: ControlClient,
        identity: EmitterIdentity,
    ) -> None:
        self._data = data
        self._control = control
        self._mailbox = mailbox
        self._client = client
        self._requests = LinkRequests(client, mailbox, identity)
        self._sender = EventSender(data, mailbox, identity)
        self._poller = zmq.Poller()
        self._poller.register(data, zmq.POLLIN)
        self._poller.register(control, zmq.POLLIN)
        self._poller.register(mailbox.wake_up.fileno(), zmq.POLLIN)
        self._all_requests_sent = True

    def is_done(self, close_at: float | None) -> bool:
        """Whether the thread may end; `close_at` is when it must, None before it is to end."""
        if close_at is None:
            return False
        if time.monotonic() >= close_at or self._mailbox.is_fenced:
            return True
        if not self._mailbox.is_drained():
            return False
        # The last report is worth a round trip, but not a wait for a relay that is gone.
        return not self._mailbox.is_accepted or self._requests.has_reported_all

    def turn(self, close_at: Callable[[], float | None]) -> bool:
        """Wait until there is something to do, and do it.

        `close_at` returns when the thread must end, None before it is to end. Returns whether other
        topics may be watched now.
        """
        ready = dict(self._poller.poll(self._wait_ms(close_at())))
        if self._mailbox.wake_up.fileno() in ready:
            # Before the mailbox is read: a call that comes later must wake the next turn.
            self._mailbox.wake_up.drain()
        self._mailbox.on_awake()
        has_changed = self._data in ready and self._read_subscriptions()
        demand = self._read_control() if self._control in ready else []
        # Subscriptions and notices first: they decide whether and from where to send.
        self._requests.say_hello(time.monotonic())
        has_changed |= self._requests.follow_demand(demand, time.monotonic())
        self._sender.send_batch()
        # Asked for again: the call that has just been taken may be that of the end.
        is_last = close_at() is not None and self._mailbox.is_drained()
        self._requests.report(time.monotonic(), is_last=is_last)
        self._send_requests()
        return has_changed

    def _wait_ms(self, close_at: float | None) -> int:
        now = time.monotonic()
        blocked_until = self._sender.blocked_until
        is_blocked = now < blocked_until
        due_at = self._mailbox.prepare_to_sleep(now, may_send=not is_blocked)
        if close_at is not None:
            due_at = min(due_at, close_at)
        if is_blocked:
            due_at = min(due_at, blocked_until)
        # Rounded up, or the thread would spin through the last millisecond.
        return max(0, math.ceil(1000 * (due_at - now)))

    def _read_subscriptions(self) -> bool:
        frames: list[bytes] = []
        with contextlib.suppress(zmq.Again):
            # Not to the end: a relay that keeps subscribing must not keep events from being sent.
            while len(frames) < READ_BATCH:
                frames.append(self._data.recv(zmq.NOBLOCK))
        if frames:
            self._mailbox.on_subscriptions(frames)
        return bool(frames)

    def _read_control(self) -> list[DemandNotice]:
        """Take replies and notices; return those of the demand."""
        received = self._client.receive(self._control)
        notices = [each for each in received if isinstance(each, Acknowledged | Resend)]
        for each in received:
            if isinstance(each, ForbiddenNotice):
                self._mailbox.permission.refused(each)
        if notices:
            self._mailbox.on_notices(notices, time.monotonic())
        return [each for each in received if isinstance(each, DemandNotice)]

    def _send_requests(self) -> None:
        all_sent = self._client.send(self._control)
        if all_sent is not self._all_requests_sent:
            self._all_requests_sent = all_sent
            # While requests wait, wake up when the socket takes them: when it is connected.
            events = zmq.POLLIN if all_sent else zmq.POLLIN | zmq.POLLOUT
            self._poller.register(self._control, events)
