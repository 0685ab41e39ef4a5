"""`Publisher`: emits for an edge, and for the application in which it is.

All with one emitter of this process. No other file of the edge knows emitters.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from edge.channel import DISCONNECT, PERMISSIONS_CHANGED, RelayAway
from edge.config import EdgeSettings
from edge.core.protocol.publications import (
    AcceptedEvent,
    InvalidPublication,
    NotAcknowledged,
    NothingTaken,
    RequestedEvent,
)
from edge.core.protocol.requests import Publish
from edge.core.websocket.close_codes import Close, CloseCode
from emitters import (
    Emitter,
    EmitterClosed,
    EmitterError,
    InvalidEnvelope,
    InvalidEvent,
    NewEvent,
    OutboxFull,
    RelayUnavailable,
)
from emitters.config import EmitterSettings
from emitters.emitter import EmitterOptions
from relay.shared.logs import LimitedLog
from relay.shared.settings import SettingsError, load
from relay.wire.errors import WireError
from relay.wire.revocations import Revocation, read_revocation, revocation_data
from relay.wire.topics import EDGE, EDGE_STATE, REVOCATION

CLOSE_TIMEOUT_S = 5.0
ROOM_TIMEOUT_S = 5.0
"""Seconds for the relay to take earlier events; then the caller learns that there are too many."""
ROOM_LOOK_S = 0.05
COMMAND_TIMEOUT_S = 5.0
"""Seconds for the relay to acknowledge a command."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


def check_emitter_settings() -> None:
    """Raise `SettingsError` for a wrong `EMITTER_*` setting, before the first event does."""
    load(EmitterSettings)


def _keys(settings: EdgeSettings) -> EmitterOptions:
    """Return the edge's own keys, unless its emitter has others."""
    if load(EmitterSettings).curve_key_file is not None:
        return {}
    return {
        "curve_key_file": settings.curve_key_file,
        "relay_curve_key": settings.relay_curve_key,
    }


class Publisher:
    """Makes the emitter when it is used first; a `Channel`."""

    def __init__(self, settings: EdgeSettings) -> None:
        self._log = LimitedLog(logger)
        self._settings = settings
        self._timeout_s = settings.publish_timeout_s
        self._emitter: Emitter | None = None

    @property
    def emitter(self) -> Emitter:
        """The emitter of this process."""
        if self._emitter is None:
            self._emitter = Emitter(control=self._settings.relay_control, **_keys(self._settings))
        return self._emitter

    async def emit(
        self,
        topic: str,
        data: Any,
        *,
        type: str | None = None,
        username: str | None = None,
        once: str | None = None,
        acknowledged: bool = False,
    ) -> str:
        """Emit; see `Emitter.emit`. Wait up to `ROOM_TIMEOUT_S` if there is no room.

        With `acknowledged`, wait until the relay has the event; raises `RelayUnavailable` if it
        has not said so within `EDGE_PUBLISH_TIMEOUT_S`.
        """
        emitter = self.emitter
        event_id = await _with_room(
            partial(emitter.emit, topic, data, type=type, username=username, once=once)
        )
        if acknowledged and not await emitter.acknowledged(self._timeout_s):
            raise RelayUnavailable(f"event {event_id}: not acknowledged in {self._timeout_s:g} s")
        return event_id

    async def publish(self, publications: Sequence[RequestedEvent]) -> list[AcceptedEvent]:
        """Emit all of `publications` or none, and wait until the relay has them.

        Raises `InvalidPublication` or `NothingTaken` if none was emitted, `NotAcknowledged` if
        nobody knows whether the relay has them. Takes `EDGE_PUBLISH_TIMEOUT_S` at most.
        """
        give_up_at = time.monotonic() + self._timeout_s
        events = [NewEvent(each.topic.shown, *each[1:]) for each in publications]
        try:
            emitter = self.emitter
            # Not taken before the relay is there: a refusal then means that nothing arrives later.
            if not await emitter.connected(self._timeout_s):
                raise NothingTaken("the relay is away")
            ids = emitter.emit_many(events)
        except InvalidEvent as invalid:
            raise _invalid(invalid) from None
        except OutboxFull as error:
            raise NothingTaken(str(error)) from None
        except (EmitterError, SettingsError) as error:
            self._log.error("emitter", "events cannot be published: %s", error)
            if isinstance(error, EmitterClosed):
                # The next request gets a new one.
                self._emitter = None
            raise NothingTaken("this edge cannot publish now; its log says why") from None
        if not await emitter.acknowledged(give_up_at - time.monotonic()):
            raise NotAcknowledged(ids)
        stored = (
            each.username is not None or emitter.is_journaled(each.topic.shown)
            for each in publications
        )
        return list(map(AcceptedEvent, ids, stored))

    # As `Channel`.

    async def take(self, request: Publish) -> str:
        """Emit what a client has published, and return the event's id."""
        return await self.emit(
            request.topic.shown, request.data, type=request.type, username=request.username
        )

    def publish_state(self, name: str, value: Any) -> None:
        """Publish the newest `value` of a state. Never waits and never fails."""
        try:
            self.emitter.emit_reserved(EDGE_STATE, name, value)
        except (EmitterError, SettingsError, WireError) as error:
            # It is told again soon: within a second, or with the next change.
            self._log.error("state", "the other workers do not hear this one: %s", error)

    async def disconnect(self, username: str, close: Close) -> None:
        """Have every worker close the present connections of a user.

        Returns when the relay has the command. Raises `RelayAway`, `InvalidEnvelope` for a wrong
        name, and `SettingsError` for a wrong `EMITTER_*` setting.
        """
        data = close._asdict()
        await self._command(
            partial(self.emitter.emit_reserved, EDGE, DISCONNECT, data, username=username)
        )

    async def permissions_changed(self, username: str) -> None:
        """Have every worker ask again what a user may see.

        Returns when the relay has the command. Raises what `disconnect` raises.
        """
        name = PERMISSIONS_CHANGED
        await self._command(partial(self.emitter.emit_reserved, EDGE, name, {}, username=username))

    async def revoke(self, revocation: Revocation) -> None:
        """Have every worker refuse the tokens, and close what was opened with them.

        Returns when the relay has it. A `before` of 0 is the time at which the relay takes it.
        Raises what `disconnect` raises.
        """
        scope, data = revocation.scope, _data_of(revocation)
        # Here it can be answered; the workers could only log it.
        read_revocation(scope, data, relayed_at=0)
        await self._command(partial(self.emitter.emit_reserved, REVOCATION, scope, data))

    def publish_again(self, revocation: Revocation) -> None:
        """Publish what the relay's journal has lost. Never waits and never fails."""
        data = _data_of(revocation)
        # Each worker of each edge does so: the relay takes the first.
        once = f"{REVOCATION}:{revocation!r}"
        try:
            self.emitter.emit_reserved(REVOCATION, revocation.scope, data, once=once)
        except (EmitterError, SettingsError, WireError) as error:
            self._log.error("revocation", "the journal lacks a revocation for good: %s", error)

    async def _command(self, emit: Callable[[], None]) -> None:
        """Emit a command to all workers, and wait until the relay has it. Raises `RelayAway`."""
        try:
            await _with_room(emit)
        except EmitterError as error:
            raise RelayAway(f"the command was not taken: {error}") from error
        if not await self.emitter.acknowledged(COMMAND_TIMEOUT_S):
            raise RelayAway(
                f"the relay has not taken the command within {COMMAND_TIMEOUT_S:g} s; it gets it"
                " when it is back"
            )

    async def aclose(self) -> None:
        """Wait for acknowledgements, and end the emitter."""
        emitter, self._emitter = self._emitter, None
        if emitter is not None:
            await asyncio.to_thread(partial(emitter.close, CLOSE_TIMEOUT_S))


async def disconnect_now(settings: EdgeSettings, username: str) -> None:
    """Have every worker close the present connections of a user, from a program that ends then.

    Raises what `Publisher.disconnect` raises. If the relay is away, it gets the command never.
    """
    async with _connected(settings, "nobody was disconnected") as publisher:
        await publisher.disconnect(username, CloseCode.DISCONNECTED.close())


async def revoke_now(settings: EdgeSettings, revocation: Revocation) -> None:
    """Revoke tokens from a program that ends then. Errors are as of `disconnect_now`."""
    async with _connected(settings, "no token was revoked") as publisher:
        await publisher.revoke(revocation)


@contextlib.asynccontextmanager
async def _connected(settings: EdgeSettings, otherwise: str) -> AsyncIterator[Publisher]:
    async with contextlib.aclosing(Publisher(settings)) as publisher:
        if not await publisher.emitter.connected(COMMAND_TIMEOUT_S):
            raise RelayAway(f"the relay is away: {otherwise}")
        yield publisher


def _data_of(revocation: Revocation) -> dict[str, Any]:
    return revocation_data(
        username=revocation.username,
        token_id=revocation.token_id,
        before=revocation.before or None,
        until=revocation.until,
    )


async def _with_room(emit: Callable[[], T]) -> T:
    """Return what `emit` returns; if the outbox is full, wait up to `ROOM_TIMEOUT_S`."""
    give_up_at = time.monotonic() + ROOM_TIMEOUT_S
    while True:
        try:
            return emit()
        except OutboxFull:
            if time.monotonic() >= give_up_at:
                raise
        await asyncio.sleep(ROOM_LOOK_S)


def _invalid(invalid: InvalidEvent) -> InvalidPublication:
    error = invalid.error
    if isinstance(error, InvalidEnvelope):
        return InvalidPublication(error.problem, invalid.index, error.field)
    return InvalidPublication(str(error), invalid.index, "topic")
