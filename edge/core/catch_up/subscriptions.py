"""`Subscriptions`: what one connection is subscribed to, and its requests (protocol section 7).

Replies leave in the order of the requests. That is why a request that comes while the connection
is caught up waits: its reply names a position that the client has not reached before.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Protocol

from edge.core.catch_up.connection_catch_up import CatchUpState, ConnectionCatchUp
from edge.core.catch_up.coverage import NO_OFFSETS, Coverage, LiveCoverage
from edge.core.catch_up.selection import PendingSubscription, PersonalSelection, Selection
from edge.core.catch_up.states import (
    LIVE,
    TRANSITIONS,
    CatchingUp,
    Entry,
    Gathering,
    Marker,
    RequestQueue,
    State,
)
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import Access
from edge.core.protocol import messages, replies
from edge.core.protocol.requests import PersonalPosition, Request, Subscribe, Unsubscribe
from edge.core.streams.snapshots import Snapshots
from edge.core.streams.streams import Streams
from relay.wire.topics import TASK, Pattern

RunCatchUp = Callable[[ConnectionCatchUp], None]
"""Has a catch-up stepped until it ends, at the speed of the client and of the relay."""


class SubscriptionServices(Protocol):
    """The objects of a worker that the subscriptions of all its connections share."""

    @property
    def manager(self) -> ConnectionManager: ...
    @property
    def streams(self) -> Streams: ...
    @property
    def snapshots(self) -> Snapshots: ...
    @property
    def access(self) -> Access: ...


class Subscriptions:
    """The subscriptions of one connection, whose identity is known."""

    __slots__ = (
        "_access",
        "_connection",
        "_covered",
        "_manager",
        "_max_subscriptions",
        "_run_catch_up",
        "_snapshots",
        "_state",
        "_streams",
    )

    def __init__(
        self,
        connection: Connection,
        services: SubscriptionServices,
        run_catch_up: RunCatchUp,
        max_subscriptions: int,
    ) -> None:
        self._connection = connection
        self._access = services.access
        self._manager = services.manager
        self._streams = services.streams
        self._snapshots = services.snapshots
        self._run_catch_up = run_catch_up
        self._max_subscriptions = max_subscriptions
        self._covered = LiveCoverage(self._streams)
        self._state: State = LIVE

    @property
    def is_catching_up(self) -> bool:
        """Whether events of the past are on their way to the client, or about to be.

        Meanwhile the client has no position: events that it still lacks precede the heads.
        """
        return self._state is not LIVE

    @property
    def waiting(self) -> tuple[int, int]:
        """The number of requests and replies that wait for a catch-up, and about their bytes."""
        match self._state:
            case Gathering(queue=queue) | CatchingUp(queue=queue):
                return len(queue), queue.size_bytes
            case _:
                return 0, 0

    @property
    def patterns(self) -> Collection[Pattern] | None:
        """The patterns of all subscriptions; None while a request waits for a catch-up."""
        return self._live.keys() if self._state is LIVE else None

    def open(self, since: PersonalPosition | None) -> None:
        """The client is there: let its user's events reach it, from `since` on if possible."""
        self._manager.connect(self._connection)
        if since is None:
            self._receive_personal(shows_tasks=True)
            return
        # Before any event, so that the client can tell whether its offsets are of this epoch.
        self._send(messages.position(self._streams.epoch, NO_OFFSETS))
        is_known = since.epoch == self._streams.epoch
        offsets = {
            stream: offset
            for stream, offset in since.offsets.items()
            if is_known and self._streams.is_stream(stream)
        }
        if not offsets:
            self._receive_personal(shows_tasks=True)
            return
        on_end = partial(self._end_personal_catch_up, TASK in offsets)
        self._catch_up(PersonalSelection(offsets, self._streams), on_end)

    def take(self, request: Request) -> None:
        """Act on `request` when it is its turn."""
        match self._state:
            case CatchingUp(queue=queue):
                if isinstance(request, Unsubscribe):
                    # Its reply waits, but a client that unsubscribes wants no further event.
                    self._end_at_once(request.pattern)
                queue.append(request)
            case _:
                self._perform(request)

    def end_gathering(self) -> None:
        """The client has sent a subscribe without `more`: catch up what is pending."""
        match self._state:
            case CatchingUp(queue=queue):
                queue.append(Marker.END_OF_MORE)
            case Gathering(pending, queue):
                for each in pending:
                    each.begin(self._streams)
                selection = Selection(pending, self._covered.coverages(self._live), self._streams)
                self._catch_up(selection, partial(self._end_catch_up, queue))
            case _:
                pass

    def answer(self, frame: bytes) -> None:
        """Send a reply when it is its turn."""
        match self._state:
            case Gathering(queue=queue) | CatchingUp(queue=queue):
                queue.append(frame)
            case _:
                self._send(frame)

    def renew(self) -> None:
        """Role or rules may be others: what they no longer allow ends at once."""
        for pattern, allowed in tuple(self._live.items()):
            now_allowed = self._selectors(pattern)
            if now_allowed == allowed:
                continue
            if now_allowed:
                self._subscribe_live(pattern, now_allowed)
            else:
                self._unsubscribe_live(pattern)
                self.answer(replies.no_longer_allowed(pattern, self._why_refused(pattern)))
            self._replace_coverage(pattern)
        match self._state:
            case Gathering(pending=pending):
                for each in pending:
                    each.restrict(self._selectors(each.request.pattern))
            case CatchingUp(selection=selection):
                selection.restrict(self._selectors)
            case _:
                pass

    # Requests whose turn it is.

    def _perform(self, request: Request) -> None:
        match request, self._state:
            case Subscribe(), _:
                self._subscribe(request)
            case Unsubscribe(), Gathering(pending=pending, queue=queue):
                for each in pending:
                    each.is_withdrawn |= each.request.pattern == request.pattern
                queue.append(request)
            case _:
                self._unsubscribe(request)

    def _subscribe(self, request: Subscribe) -> None:
        allowed = self._selectors(request.pattern)
        is_gathering = isinstance(self._state, Gathering)
        # Of a task only the state can be asked for; its updates resume in the handshake.
        asks_for_the_past = request.asks_for_the_past and bool(allowed)
        if not (asks_for_the_past or is_gathering):
            self._go_live(request, allowed)
        elif refusal := self._refusal(request, allowed):
            self.answer(refusal)
        elif asks_for_the_past:
            self._gather(request, allowed)
        elif isinstance(self._state, Gathering):
            self._state.queue.append(request)

    def _refusal(self, request: Subscribe, allowed: tuple[Pattern, ...]) -> bytes | None:
        if not allowed:
            # The same text for a task of another user and for one that nobody has.
            return None if self._task_state(request.pattern) else self._forbidden(request)
        patterns = set(self._live)
        if isinstance(self._state, Gathering):
            patterns.update(each.request.pattern for each in self._state.pending)
        if request.pattern in patterns:
            return None
        if len(patterns) >= self._max_subscriptions:
            return replies.too_many_subscriptions(self._max_subscriptions, request.id)
        excess = self._manager.excess(self._connection, request.pattern)
        if excess is None:
            return None
        return replies.no_room(excess.explain(self._manager.quota.limits), request.id)

    def _gather(self, request: Subscribe, allowed: tuple[Pattern, ...]) -> None:
        gathering = self._state
        if not isinstance(gathering, Gathering):
            gathering = Gathering()
            self._enter(gathering)
        pending = PendingSubscription(request, allowed)
        gathering.pending.append(pending)
        gathering.queue.append(pending)

    # Catch-ups.

    def _catch_up(self, selection: Selection, on_end: Callable[[ConnectionCatchUp], None]) -> None:
        self._enter(CatchingUp(selection))
        catch_up = ConnectionCatchUp(
            self._connection, self._manager, self._streams, selection, on_end
        )
        if catch_up.state.is_final:
            on_end(catch_up)
        else:
            self._run_catch_up(catch_up)

    def _end_personal_catch_up(self, has_tasks: bool, catch_up: ConnectionCatchUp) -> None:
        waiting = self._leave_catch_up()
        self._receive_personal(shows_tasks=not (has_tasks and catch_up.has_reached_claims))
        self._perform_waiting(waiting)

    def _end_catch_up(self, gathered: RequestQueue, catch_up: ConnectionCatchUp) -> None:
        waiting = self._leave_catch_up()
        while gathered:
            match gathered.pop():
                case PendingSubscription() as pending:
                    self._go_live_after(catch_up, pending)
                case Subscribe() as request:
                    # The role may be another one than when the request came.
                    self._go_live(request, self._selectors(request.pattern))
                case entry:
                    self._perform_entry(entry)
        self._perform_waiting(waiting)

    def _leave_catch_up(self) -> RequestQueue:
        """Go live; return the requests that waited."""
        assert isinstance(self._state, CatchingUp)
        waiting = self._state.queue
        self._enter(LIVE)
        return waiting

    def _perform_waiting(self, waiting: RequestQueue) -> None:
        """Perform the requests that waited, up to the next one that takes a catch-up."""
        while waiting:
            self._perform_entry(waiting.pop())
            if isinstance(self._state, CatchingUp):
                self._state.queue = waiting
                return

    def _perform_entry(self, entry: Entry) -> None:
        match entry:
            case Marker.END_OF_MORE:
                self.end_gathering()
            case bytes() as frame:
                self.answer(frame)
            case Subscribe() | Unsubscribe() as request:
                self._perform(request)
            case _:
                raise AssertionError("a pending subscription waits for its own catch-up alone")

    def _enter(self, state: State) -> None:
        """Change the state: the only place where it changes."""
        assert (type(self._state), type(state)) in TRANSITIONS
        self._state = state

    # Live subscriptions.

    def _receive_personal(self, *, shows_tasks: bool) -> None:
        if shows_tasks:
            for frame in self._snapshots.unfinished_tasks(self._connection.identity.username):
                self._send(frame)
        self._manager.receive_personal(self._connection)
        if position := self._snapshots.personal_position_of(self._connection):
            # From here the client can resume, even if no event ever comes.
            self._send(messages.position(self._streams.epoch, position))

    def _go_live(self, request: Subscribe, allowed: tuple[Pattern, ...]) -> None:
        """Subscribe from now on, if the client's role allows it, or if it is the user's task."""
        if refusal := self._refusal(request, allowed):
            self.answer(refusal)
        elif allowed:
            self._subscribe_live(request.pattern, allowed)
            self._welcome(request, allowed, None)
        else:
            # The updates of a user's tasks come without a subscription, so none is kept.
            recovered = False if request.asks_for_the_past else None
            self._welcome(request, (request.pattern,), recovered)

    def _go_live_after(self, catch_up: ConnectionCatchUp, pending: PendingSubscription) -> None:
        """Subscribe at the heads to which `catch_up` has brought the client."""
        request = pending.request
        # Once more: the role may be another one, and the room may have been used up meanwhile.
        refusal = None if pending.is_withdrawn else self._refusal(request, pending.selectors)
        if refusal or not pending.selectors:
            self.answer(refusal or self._forbidden(request))
            return
        if not pending.is_withdrawn:
            is_abandoned = catch_up.state is CatchUpState.ABANDONED
            since = NO_OFFSETS if is_abandoned else pending.since
            self._subscribe_live(request.pattern, pending.selectors, since)
        self._welcome(request, pending.selectors, catch_up.has_recovered(pending))

    def _welcome(
        self, request: Subscribe, allowed: tuple[Pattern, ...], recovered: bool | None
    ) -> None:
        position = self._streams.offsets_concerning(allowed)
        self.answer(
            replies.subscribed(
                request.pattern, request.id, self._streams.epoch, position, recovered
            )
        )
        for topic, frame in self._snapshots.last_values(self._connection.identity, allowed):
            self._manager.show_to_client(self._connection, topic, frame)
        if state := self._task_state(request.pattern):
            self._send(state)

    @property
    def _live(self) -> Mapping[Pattern, tuple[Pattern, ...]]:
        """Each live pattern with the selectors that stand for it under the client's role."""
        return self._manager.subscriptions(self._connection)

    def _subscribe_live(
        self,
        pattern: Pattern,
        selectors: tuple[Pattern, ...],
        since: Mapping[str, int] = NO_OFFSETS,
    ) -> None:
        """Send matching events from now on; see `LiveCoverage.add` for `since`."""
        # Before the selectors change: under new ones, more streams would seem to be covered.
        known = self._live.get(pattern)
        before = NO_OFFSETS if known is None else self._covered.after(pattern, known)
        self._manager.subscribe(self._connection, pattern, selectors)
        self._covered.add(pattern, selectors, since, before)

    def _unsubscribe_live(self, pattern: Pattern) -> None:
        """Send no more events for `pattern`. Not being subscribed is not an error."""
        self._manager.unsubscribe(self._connection, pattern)
        self._covered.remove(pattern)

    def _unsubscribe(self, request: Unsubscribe) -> None:
        self._unsubscribe_live(request.pattern)
        self.answer(replies.unsubscribed(request.pattern, request.id))

    def _end_at_once(self, pattern: Pattern) -> None:
        """Send no more events for `pattern`, neither live nor from the catch-up."""
        self._unsubscribe_live(pattern)
        self._replace_coverage(pattern)
        if isinstance(self._state, CatchingUp):
            self._state.selection.withdraw(pattern)

    def _replace_coverage(self, pattern: Pattern) -> None:
        """Tell a catch-up that the live subscription to `pattern` has changed or ended."""
        if isinstance(self._state, CatchingUp):
            selectors = self._live.get(pattern)
            live = None
            if selectors is not None:
                live = Coverage(pattern, selectors, self._covered.after(pattern, selectors))
            self._state.selection.replace_coverage(pattern, self._streams.offsets, live)

    def _task_state(self, pattern: Pattern) -> bytes | None:
        return self._snapshots.task_state(self._connection.identity.username, pattern)

    def _send(self, frame: bytes) -> None:
        self._manager.send_to_client(self._connection, frame)

    def _selectors(self, pattern: Pattern) -> tuple[Pattern, ...]:
        return self._access.selectors(self._connection.identity, pattern)

    def _why_refused(self, pattern: Pattern) -> str:
        return self._access.refusal(self._connection.identity, pattern)

    def _forbidden(self, request: Subscribe) -> bytes:
        return replies.forbidden(request.pattern, self._why_refused(request.pattern), request.id)
