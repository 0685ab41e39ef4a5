"""`LinkThread`: the emitter's only thread. It alone uses the sockets."""

import logging
import math
import time
from collections.abc import Callable

import zmq

from emitters.config import EmitterSettings
from emitters.connections import Connections
from emitters.control_client import ControlClient
from emitters.core.emitter_state import EmitterState
from emitters.core.identity import EmitterIdentity
from emitters.errors import RelayUnavailable
from emitters.fault_log import log_fault
from emitters.link_loop import LinkLoop
from emitters.link_watch import LinkWatch
from emitters.mailbox import CLOSED, FAILED, Mailbox
from emitters.real_threads import RealThread
from relay.shared.transport import Socket, connect, open_socket
from relay.wire.control import RetainedReply, RetainedRequest
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.topics import decode_topic

LINGER_S = 1.0
"""How long live values may take from libzmq to the kernel when the emitter is closed."""
JOIN_TIMEOUT_S = 1.0
"""How long a thread that has done its work may take to be gone."""

logger = logging.getLogger(__name__)


class LinkThread:
    """Connects the mailbox with the relay until `close`."""

    def __init__(
        self,
        settings: EmitterSettings,
        identity: EmitterIdentity,
        mailbox: Mailbox,
        watch_callbacks: list[Callable[[], None]],
        on_end: Callable[[], None],
    ) -> None:
        """Call each of `watch_callbacks` when other topics may be watched, and `on_end` last."""
        # A program that forgets `close` still ends: the exit hook calls it.
        self._thread = RealThread(f"emitter-{identity.name}", self._run)
        self._settings = settings
        self._identity = identity
        self._mailbox = mailbox
        self._role: dict[None, str] = {}
        """Under the key None, what came first: "running" or "abandoned"."""
        self._client = ControlClient()
        self.connections = Connections()
        self._watch = LinkWatch(identity.name, settings)
        self._watch_callbacks = watch_callbacks
        self._on_end = on_end
        self._close_at: float | None = None
        """Monotonic seconds at which the thread ends at the latest; None before it is to end."""

    # Called from any thread.

    def start(self) -> None:
        """Begin. Raises `RuntimeError` if no thread can be started."""
        self._thread.start()

    @property
    def state(self) -> EmitterState:
        """Whether events reach the relay."""
        return self._watch.state

    def retained(self, prefix: str, timeout: float) -> list[tuple[str, Envelope]]:
        """Ask the relay for the last values of topics that start with `prefix`, page by page."""
        deadline = time.monotonic() + timeout
        items: list[tuple[str, Envelope]] = []
        after: bytes | None = None
        while True:
            page = self._ask_retained(prefix, after, deadline - time.monotonic())
            for topic_frame, _stamp, payload in page.items:
                topic = decode_topic(topic_frame)
                items.append((topic.shown, unpack_envelope(payload, topic.kind)))
            if page.next is None:
                return items
            after = page.next

    def end_when_drained(self) -> None:
        """End as soon as everything is acknowledged."""
        self._end_by(math.inf)

    def end_within(self, timeout: float) -> None:
        """End as soon as everything is acknowledged, or `timeout` seconds from now.

        Only the first call sets the time.
        """
        self._end_by(time.monotonic() + timeout)

    def wait_end(self) -> None:
        """Wait for the end that `end_within` has set."""
        if self._thread.is_current:
            return
        assert self._close_at is not None
        timeout = max(0.0, self._close_at - time.monotonic()) + LINGER_S + 1.0
        if self._mailbox.waiters.wait(lambda: self._mailbox.has_ended, timeout):
            self._thread.join(JOIN_TIMEOUT_S)

    def abandon(self) -> bool:
        """End the thread whether or not it has begun; return whether it will never run."""
        self._close_at = 0.0
        is_abandoned = self._role.setdefault(None, "abandoned") == "abandoned"
        self._mailbox.wake_up.send()
        return is_abandoned

    def _end_by(self, close_at: float) -> None:
        if self._close_at is None or math.isinf(self._close_at):
            self._close_at = close_at
        # Also by a second call: the first may have been interrupted before it.
        self._mailbox.wake_up.send()

    def _ask_retained(self, prefix: str, after: bytes | None, timeout: float) -> RetainedReply:
        pending = self._client.ask(lambda key: RetainedRequest(id=key, prefix=prefix, after=after))
        self._mailbox.wake_up.send()
        reply = pending.result(timeout)
        if reply is None:
            raise RelayUnavailable(
                f"no answer from the relay at {self._settings.relay_control} in time"
            )
        assert isinstance(reply, RetainedReply)
        return reply

    # Runs in the thread.

    def _run(self) -> None:
        """Own the sockets until `close`."""
        if self._role.setdefault(None, "running") != "running":
            return
        self._mailbox.begin()
        context: zmq.Context[Socket] = zmq.Context()
        linger_s = 0.0
        reason = CLOSED
        try:
            data, control = self._open_sockets(context)
            loop = LinkLoop(data, control, self._mailbox, self._client, self._identity)
            while not loop.is_done(self._close_at):
                if loop.turn(lambda: self._close_at):
                    self.connections.read()
                    self._call_watch_callbacks()
                self._watch.look(self._mailbox.trouble)
            if self._mailbox.is_open and self._close_at is not None:
                # A live value is never acknowledged; give libzmq the time to write it.
                linger_s = min(LINGER_S, max(0.0, self._close_at - time.monotonic()))
        except BaseException:
            # Without this thread nothing would ever be sent: `emit` must say so, not fill up.
            logger.exception("the emitter %s has failed and takes no events", self._identity.name)
            reason = FAILED
            self._mailbox.refuse(reason)
        finally:
            # First answer the threads in `retained`: they must not wait for a closed socket.
            self._client.close()
            context.destroy(linger=int(linger_s * 1000))
            self._mailbox.finish(reason)
            self._watch.end(self._mailbox.end_reason)
            self._mailbox.wake_up.close()
            self._on_end()

    def _open_sockets(self, context: "zmq.Context[Socket]") -> tuple[Socket, Socket]:
        data = open_socket(context, zmq.XPUB)
        # At the high-water mark the event stays with us instead of being dropped by libzmq.
        data.setsockopt(zmq.XPUB_NODROP, 1)
        control = open_socket(context, zmq.DEALER)
        self.connections.follow(data)
        self.connections.follow(control)
        keys = self._settings.keys
        connect(data, self._settings.relay_ingress, keys)
        connect(control, self._settings.relay_control, keys)
        return data, control

    def _call_watch_callbacks(self) -> None:
        for callback in self._watch_callbacks:
            try:
                callback()
            except BaseException as error:  # noqa: BLE001
                # A fault in the program's callback must not end the emitter: `SystemExit` neither,
                # which in this thread can only be the callback's.
                log_fault(logger, error, "a callback of on_watch_change failed")
