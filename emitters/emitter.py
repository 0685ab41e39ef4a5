"""`Emitter`: the public face of the emitter side; `emitters.running` is what works behind it."""

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, TypedDict, Unpack

from emitters.config import EmitterSettings
from emitters.core.emitter_state import EmitterState, EmitterStatus
from emitters.core.json_values import Default, json_value
from emitters.core.outgoing import Outgoing
from emitters.errors import EmitterClosed, InvalidEvent
from emitters.forks import in_forked_child
from emitters.handover import OutboxBounds
from emitters.mailbox import CLOSED
from emitters.real_threads import refuse_other_green_threads
from emitters.returned import is_async_function, refuse_function
from emitters.running import CLOSE_TIMEOUT_S, RunningEmitter
from emitters.shielded import shielded
from relay.shared.process_room import require_room
from relay.shared.settings import SettingsError, load
from relay.wire.contracts import CONTRACTS
from relay.wire.envelope import Envelope, default_type, pack_envelope
from relay.wire.errors import InvalidEnvelope, WireError
from relay.wire.once import once_id
from relay.wire.topics import Topic, addressed_topic, parse_topic, reserved_topic

DEFAULT_MAX_EVENTS = 100_000
DEFAULT_MAX_BYTES = 64 * 1024 * 1024
MAX_WATCH_CALLBACKS = 1000
NEEDED_DESCRIPTORS = 24
NEEDED_THREADS = 3
"""The emitter's own and two of libzmq."""
NEEDED_BYTES = 48 * 1024 * 1024
"""Address space: stacks of threads, buffers of libzmq."""

logger = logging.getLogger(__name__)


class EmitterOptions(TypedDict, total=False):
    """Keyword arguments of `Emitter` that bound its outbox, or are keys."""

    max_events: int
    max_bytes: int
    block_timeout_s: float | None
    curve_key_file: str | os.PathLike[str] | None
    relay_curve_key: str | None


class NewEvent(NamedTuple):
    """An event for `Emitter.emit_many`; `Emitter.emit` says what each field means."""

    topic: str
    data: Any
    type: str | None = None
    username: str | None = None
    once: str | None = None


@dataclass(frozen=True, slots=True)
class _Options:
    """The options with their defaults; any other keyword is refused."""

    max_events: int = DEFAULT_MAX_EVENTS
    max_bytes: int = DEFAULT_MAX_BYTES
    block_timeout_s: float | None = None
    curve_key_file: str | os.PathLike[str] | None = None
    relay_curve_key: str | None = None


class Emitter:
    """Emits events to the relay (protocol section 5).

    Without arguments it takes the `EMITTER_*` settings; keyword arguments override them. Safe to
    use from any thread and from async code: `emit` never waits for the network.

    `name` is the `source` of the events; any number of processes may have the same one. A process
    that is forked gets its own connection to the relay with its first call, and the events that its
    parent had emitted stay with the parent.

    `max_events` (100,000) and `max_bytes` (64 MiB) bound the events that the relay has not
    acknowledged yet. When they are reached, `emit` raises `OutboxFull`, or first waits up to
    `block_timeout_s` seconds if that is given. Beside them, unsent values of 10,000 live topics
    are held, 32 MiB at most; beyond that the value emitted first is given up, and counted as
    `conflated`.

    `spool` is a file that holds every event until it is acknowledged, so that even after
    `kill -9` the next emitter on that file sends them. It belongs to one process at a time. Without
    a name, an emitter has that of its spool. See `emitters.spool` for the cost of a power cut.

    `curve_key_file` and `relay_curve_key` are the own key and the relay's public one, for a relay
    with keys.

    `default` is called with each value of an event that has no JSON form, and returns one that has.

    Raises `relay.shared.settings.SettingsError` for a setting that cannot be used, or if the
    process may not open 24 more file descriptors or start 3 more threads; `SpoolInUse` or
    `SpoolRefused` if the setting is the spool.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        ingress: str | None = None,
        control: str | None = None,
        spool: str | os.PathLike[str] | None = None,
        default: Default | None = None,
        **options: Unpack[EmitterOptions],
    ) -> None:
        refuse_other_green_threads()
        given = _Options(**options)
        key_file = given.curve_key_file
        self._settings = load(
            EmitterSettings,
            name=name,
            relay_ingress=ingress,
            relay_control=control,
            spool=None if spool is None else os.fspath(spool),
            curve_key_file=None if key_file is None else os.fspath(key_file),
            relay_curve_key=given.relay_curve_key,
        )
        self._default = default
        self._bounds = OutboxBounds(given.max_events, given.max_bytes)
        self._block_timeout_s = given.block_timeout_s
        self._watch_callbacks: list[Callable[[], None]] = []
        self._beginning = threading.Lock()
        """Held while this process's running emitter is made, in a thread that no signal reaches."""
        self._running: RunningEmitter | None = None
        """None in a forked process that has not used this emitter yet."""
        self._closed_at = 0.0
        """Unix time of `close` in such a process."""
        self.name = self._here().name
        """The `source` of the events."""
        in_forked_child(self, Emitter._leave_to_parent)

    @property
    def spool(self) -> Path | None:
        """The file of the spool, None without one."""
        return self._settings.spool

    @property
    def state(self) -> EmitterState:
        """Whether events reach the relay, and if not, what stands in their way. Never waits."""
        try:
            return self._here().state
        except EmitterClosed as error:
            return EmitterState(EmitterStatus.CLOSED, str(error), self._closed_at)
        except SettingsError as error:
            return EmitterState(EmitterStatus.REFUSED, str(error), time.time())

    def emit(
        self,
        topic: str,
        data: Any,
        *,
        type: str | None = None,
        username: str | None = None,
        while_connected: bool = False,
        once: str | None = None,
    ) -> str:
        """Take one event and return its id.

        `data` is any value that JSON can carry, or of a type in `emitters.core.json_values`; of a
        task it is a map; of a topic with a model (`emitters.event`), what makes one of these.
        `type` defaults to the one of the kind. With `username` all connections of that user get
        it, whether subscribed or not, and nobody else; topics of kind `task` need it. With
        `while_connected` the relay ends the task as an error if this emitter goes away for longer
        than `RELAY_TASK_GRACE_S`, and this is its newest state, not a final one. Of all events with
        the same text `once`, from whatever process, the relay takes the first within a day
        (protocol section 3): so an event may be emitted again when nobody knows whether it was.

        Raises `InvalidTopic`, `InvalidEnvelope` or `NotPermitted` (whose `field` says where),
        `OutboxFull`, `SpoolUnavailable`, `EmitterClosed`, or `SpoolInUse` in a forked process,
        whose parent has the spool. Then the event was not taken. A signal handler may emit; if it
        raises while it interrupts this call, the event was taken or not, never half.
        """
        running = self._running or self._here()
        event_id = running.new_id() if once is None else once_id(once)
        fields = NewEvent(topic, data, type, username)
        event = self._outgoing(event_id, parse_topic(topic), fields, while_connected)
        running.mailbox.add(event, self._block_timeout_s)
        return event_id

    def emit_reserved(
        self,
        kind: str,
        name: str,
        data: Any,
        *,
        username: str | None = None,
        once: str | None = None,
    ) -> None:
        """Emit an event of a reserved kind, as an edge does (protocol section 6).

        Arguments and errors are those of `emit`.
        """
        running = self._running or self._here()
        fields = NewEvent(name, data, kind.replace("-", "_"), username)
        event_id = running.new_id() if once is None else once_id(once)
        event = self._outgoing(event_id, reserved_topic(kind, name), fields)
        running.mailbox.add(event, self._block_timeout_s)

    def emit_many(self, events: Iterable[NewEvent]) -> list[str]:
        """Take all of `events` in their order, or none of them; return their ids.

        Raises `InvalidEvent` for the first one that cannot be emitted, else what `emit` raises. It
        does not wait for room: `OutboxFull` says that there is none for all of them.
        """
        running = self._running or self._here()
        ids: list[str] = []
        outgoing: list[Outgoing] = []
        for index, event in enumerate(events):
            try:
                ids.append(running.new_id() if event.once is None else once_id(event.once))
                outgoing.append(self._outgoing(ids[-1], parse_topic(event.topic), event))
            except WireError as error:
                raise InvalidEvent(index, error) from None
        running.mailbox.add_all(outgoing)
        return ids

    def is_watched(self, topic: str) -> bool:
        """Whether somebody is subscribed to the live topic `topic` right now.

        Raises `InvalidTopic`.
        """
        return self._here().mailbox.is_watched(parse_topic(topic).text)

    def is_journaled(self, topic: str) -> bool:
        """Whether the relay stores the events on `topic`; of others the newest value counts.

        Once connected, the emitter knows it from the relay. Raises `InvalidTopic`.
        """
        return self._here().is_journaled(parse_topic(topic))

    def on_watch_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever the set of watched live topics changes.

        It is called from the emitter's own thread and must return at once. Raises `RuntimeError`
        for more than 1000 callbacks.
        """
        refuse_function(callback, "on_watch_change")
        if is_async_function(callback):
            raise TypeError("on_watch_change takes a plain function: nobody would await its result")
        if len(self._watch_callbacks) >= MAX_WATCH_CALLBACKS:
            raise RuntimeError(f"on_watch_change takes at most {MAX_WATCH_CALLBACKS} callbacks")
        self._watch_callbacks.append(callback)

    def wait_connected(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until events reach the relay; return whether they do."""
        return self._here().mailbox.wait_open(timeout)

    def wait_acknowledged(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds until the relay has all that was emitted before this call.

        Returns whether it has. That includes events that an earlier process left in the spool.
        """
        return self._here().mailbox.wait_acknowledged(timeout)

    async def acknowledged(self, timeout: float) -> bool:  # noqa: ASYNC109 - as `wait_acknowledged`
        """Do what `wait_acknowledged` does without a thread that waits."""
        mailbox = self._here().mailbox
        is_acknowledged = mailbox.acknowledgement()
        await mailbox.waiters.wait_async(
            lambda: bool(mailbox.end_reason) or is_acknowledged(), timeout
        )
        return is_acknowledged()

    async def connected(self, timeout: float) -> bool:  # noqa: ASYNC109 - as `wait_connected`
        """Do what `wait_connected` does without a thread that waits."""
        mailbox = self._here().mailbox
        await mailbox.waiters.wait_async(
            lambda: mailbox.is_open or bool(mailbox.end_reason), timeout
        )
        return mailbox.is_open and not mailbox.has_ended

    def retained(self, prefix: str, timeout: float = 5.0) -> list[tuple[str, Envelope]]:
        """Return topic and envelope of what the relay remembers of topics that start with `prefix`.

        That is the last value of a live topic, and the latest state of a task. Raises
        `RelayUnavailable` when it does not answer within `timeout` seconds.
        """
        return self._here().link.retained(prefix, timeout)

    def counters(self) -> dict[str, int]:
        """Return this emitter's counters, by the names of protocol section 9."""
        mailbox = self._here().mailbox
        return mailbox.counters() | {"forbidden": mailbox.permission.forbidden}

    def close(self, timeout: float = CLOSE_TIMEOUT_S) -> int:
        """Wait for acknowledgements for at most `timeout` seconds, and end.

        Returns the number of journaled events that the relay has not acknowledged, or has refused
        (`NotPermitted`). With a spool the former stay in it. A second call waits for the end of the
        first, and returns the same.
        """
        running = self._running
        if running is None:
            # A forked process that has emitted nothing.
            self._closed_at = self._closed_at or time.time()
            return 0
        return running.close(timeout)

    async def aclose(self, timeout: float = CLOSE_TIMEOUT_S) -> int:  # noqa: ASYNC109 - as `close`
        """Do what `close` does, in a thread of its own: the event loop goes on meanwhile."""
        return await asyncio.to_thread(self.close, timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _outgoing(
        self, event_id: str, parsed: Topic, event: NewEvent, while_connected: bool = False
    ) -> Outgoing:
        """Return the event, checked and packed. Raises `WireError`."""
        _, data, type, username, _ = event
        data = CONTRACTS.checked(parsed, data) if CONTRACTS.has_checks else data
        envelope = Envelope(
            type=default_type(parsed.kind) if type is None else type,
            data=data,
            username=username,
            source=self.name,
            emitted_at=time.time_ns() // 1_000_000,
            id=event_id,
            while_connected=while_connected,
        )
        self._here().mailbox.permission.check(parsed, self.name, username)
        sent = parsed if username is None else addressed_topic(parsed)
        return Outgoing(sent, self._packed(envelope, sent.kind))

    def _packed(self, envelope: Envelope, kind: str) -> bytes:
        try:
            return pack_envelope(envelope, kind)
        except InvalidEnvelope:
            # Only now: most values need no other form.
            data = json_value(envelope.data, self._default)
        return pack_envelope(envelope._replace(data=data), kind)

    def _here(self) -> RunningEmitter:
        """Return the running emitter of this process."""
        # A signal handler that raises could leave a lock taken, or half an emitter.
        return self._running or shielded(self._begin_once)

    def _begin_once(self) -> RunningEmitter:
        if self._closed_at:
            raise EmitterClosed(CLOSED)
        with self._beginning:
            return self._running or self._begin()

    def _begin(self) -> RunningEmitter:
        require_room(NEEDED_DESCRIPTORS, NEEDED_THREADS, NEEDED_BYTES)
        running = RunningEmitter(self._settings, self._bounds, self._watch_callbacks)
        # Nobody can call `close` any more when this object is gone.
        weakref.finalize(self, running.release).atexit = False
        self._running = running
        return running

    def _leave_to_parent(self) -> None:
        """In a forked child: leave all that was begun to the parent, which has its threads."""
        self._beginning = threading.Lock()
        running = self._running
        if running is not None and not running.is_closed:
            self._running = None
