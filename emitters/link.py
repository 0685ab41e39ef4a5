"""`LinkThread`: the emitter's only thread. It alone uses the sockets."""

import logging
import math
import threading
import time
from collections.abc import Callable

import zmq

from emitters.config import EmitterSettings
from emitters.control_client import ControlClient
from emitters.core.identity import EmitterIdentity
from emitters.errors import RelayUnavailable
from emitters.fault_log import log_fault
from emitters.link_loop import LinkLoop
from emitters.mailbox import CLOSED, FAILED, Mailbox
from emitters.returned import is_async_function, refuse_function
from relay.shared.transport import Socket, connect, open_socket
from relay.wire.control import RetainedReply, RetainedRequest
from relay.wire.envelope import Envelope, unpack_envelope
from relay.wire.topics import decode_topic

MAX_WATCH_CALLBACKS = 1000
LINGER_S = 1.0
"""How long live values may take from libzmq to the kernel when the emitter is closed."""
JOIN_TIMEOUT_S = 1.0
"""How long a thread that has done its work may take to be gone."""

logger = logging.getLogger(__name__)


class LinkThread(threading.Thread):
    """Connects the mailbox with the relay until `close`."""

    def __init__(
        self, settings: EmitterSettings, identity: EmitterIdentity, mailbox: Mailbox
    ) -> None:
        # Daemon: a program that forgets `close` still ends, and the exit hook calls it.
        super().__init__(name=f"emitter-{identity.name}", daemon=True)
        self._settings = settings
        self._identity = identity
        self._mailbox = mailbox
        self._role: dict[None, str] = {}
        """Under the key None, what came first: "running" or "abandoned"."""
        self._client = ControlClient()
        self._watch_callbacks: list[Callable[[], None]] = []
        self._close_at = math.inf
        """Monotonic seconds at which the thread ends at the latest; infinite before `close`."""

    # Called from any thread.

    def on_watch_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` from this thread when other topics may be watched."""
        refuse_function(callback, "on_watch_change")
        if is_async_function(callback):
            raise TypeError("on_watch_change takes a plain function: nobody would await its result")
        if len(self._watch_callbacks) >= MAX_WATCH_CALLBACKS:
            raise RuntimeError(f"on_watch_change takes at most {MAX_WATCH_CALLBACKS} callbacks")
        self._watch_callbacks.append(callback)

    def retained(self, prefix: str, timeout: float) -> list[tuple[str, Envelope]]:
        """Ask the relay for the last values of topics that start with `prefix`, page by page."""
        deadline = time.monotonic() + timeout
        items: list[tuple[str, Envelope]] = []
        after: bytes | None = None
        while True:
            page = self._ask_retained(prefix, after, deadline - time.monotonic())
            for topic_frame, _stamp, payload in page.items:
                topic = decode_topic(topic_frame)
                items.append((topic.text, unpack_envelope(payload, topic.kind)))
            if page.next is None:
                return items
            after = page.next

    def close(self, timeout: float) -> None:
        """Wait for acknowledgements for at most `timeout` seconds, and end the thread.

        Only the first call sets the time; later ones wait for the end.
        """
        if math.isinf(self._close_at):
            self._close_at = time.monotonic() + timeout
            timeout += LINGER_S + 1.0
        # Also by a second call: the first may have been interrupted before it.
        self._mailbox.wake_up.send()
        if threading.current_thread() is self:
            return
        if self._mailbox.waiters.wait(lambda: self._mailbox.has_ended, timeout):
            self.join(JOIN_TIMEOUT_S)

    def abandon(self) -> bool:
        """End the thread whether or not it has begun; return whether it will never run."""
        self._close_at = 0.0
        is_abandoned = self._role.setdefault(None, "abandoned") == "abandoned"
        self._mailbox.wake_up.send()
        return is_abandoned

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

    def run(self) -> None:
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
                if loop.turn(self._close_at):
                    self._call_watch_callbacks()
                self._tell_trouble()
            if self._mailbox.is_open:
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
            self._mailbox.wake_up.close()

    def _open_sockets(self, context: "zmq.Context[Socket]") -> tuple[Socket, Socket]:
        data = open_socket(context, zmq.XPUB)
        # At the high-water mark the event stays with us instead of being dropped by libzmq.
        data.setsockopt(zmq.XPUB_NODROP, 1)
        connect(data, self._settings.relay_ingress)
        control = open_socket(context, zmq.DEALER)
        connect(control, self._settings.relay_control)
        return data, control

    def _tell_trouble(self) -> None:
        trouble = self._mailbox.trouble(time.monotonic())
        if trouble is not None:
            settings = self._settings
            logger.error(
                trouble.value.format(
                    name=self._identity.name,
                    ingress=settings.relay_ingress,
                    control=settings.relay_control,
                )
            )

    def _call_watch_callbacks(self) -> None:
        for callback in self._watch_callbacks:
            try:
                callback()
            except BaseException as error:  # noqa: BLE001
                # A fault in the program's callback must not end the emitter: `SystemExit` neither,
                # which in this thread can only be the callback's.
                log_fault(logger, error, "a callback of on_watch_change failed")
