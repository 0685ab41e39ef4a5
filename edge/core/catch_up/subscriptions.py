"""What one connection is subscribed to, and how it is caught up (protocol section 7).

Requests are answered in their order. While a pass over the streams runs, what the client asks for
meanwhile waits behind it.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

from edge.core.catch_up.passes import Pass, SubscriptionPass, TaskPass
from edge.core.catch_up.ports import CatchUp
from edge.core.catch_up.selection import Cover, Item
from edge.core.hub.audience import Connection
from edge.core.hub.connections import ConnectionManager
from edge.core.identity.access import selectors
from edge.core.protocol import messages
from edge.core.protocol.requests import Request, Subscribe, TaskPosition, Unsubscribe
from edge.core.streams.snapshots import Snapshots
from edge.core.streams.streams import Streams
from relay.wire.topics import TASK, Pattern


class Subscriptions:
    """The subscriptions of one connection, whose identity is known."""

    __slots__ = (
        "_catch_up",
        "_connection",
        "_covered",
        "_covered_epoch",
        "_gathered",
        "_is_going_on",
        "_manager",
        "_max_subscriptions",
        "_running",
        "_snapshots",
        "_streams",
        "_waiting",
    )

    def __init__(
        self,
        connection: Connection,
        manager: ConnectionManager,
        streams: Streams,
        snapshots: Snapshots,
        catch_up: CatchUp,
        max_subscriptions: int,
    ) -> None:
        self._connection = connection
        self._manager = manager
        self._streams = streams
        self._snapshots = snapshots
        self._catch_up = catch_up
        self._max_subscriptions = max_subscriptions
        self._covered: dict[Pattern, dict[str, int]] = {}
        """Of each live subscription: stream to the offset after which it brought everything."""
        self._covered_epoch = streams.epoch
        self._gathered: SubscriptionPass | None = None
        """To be started by `end_gathering`."""
        self._running: Pass | None = None
        self._waiting: deque[Callable[[], None]] | None = None
        """Behind the pass that runs."""
        self._is_going_on = False

    @property
    def is_catching_up(self) -> bool:
        """Whether events of the past are on their way to the client, or about to be."""
        return self._running is not None or self._gathered is not None

    @property
    def waiting_count(self) -> int:
        """How many requests and answers wait for a pass to end."""
        gathered = 0 if self._gathered is None else len(self._gathered.answers)
        return len(self._waiting or ()) + gathered

    def open(self, since: TaskPosition | None) -> None:
        """The client is there: let its user's tasks reach it, from `since` on if possible."""
        self._manager.connect(self._connection)
        if since is None:
            self._receive_tasks(is_new=True)
            return
        # First of all, so that the client can compare what comes with what it knows.
        self._manager.send_to_client(self._connection, messages.position(self._streams.epoch, {}))
        if since.epoch != self._streams.epoch or not self._streams.get(TASK):
            self._receive_tasks(is_new=True)
            return
        task_pass = TaskPass(
            self._connection, self._manager, self._streams, since.offset, self._finish_tasks
        )
        self._run(task_pass)

    def take(self, request: Request) -> None:
        """Act on `request` when it is its turn."""
        if self._running is None:
            self._perform(request)
            return
        if isinstance(request, Unsubscribe):
            self._stop(request.pattern)
        self._wait(partial(self._perform, request))

    def _stop(self, pattern: Pattern) -> None:
        """Send nothing more for `pattern`, though the answer has to wait."""
        self._unsubscribe_live(pattern)
        if isinstance(self._running, SubscriptionPass):
            self._running.withdraw(pattern)
            self._running.replace_cover(pattern, None)

    def end_gathering(self) -> None:
        """What is to be caught up together has been asked for: the client said no `more`."""
        if self._running is None:
            self._end_gathering()
        else:
            self._wait(self._end_gathering)

    def answer(self, frame: bytes) -> None:
        """Send a reply when it is its turn."""
        if self._running is not None:
            self._wait(partial(self.answer, frame))
        elif self._gathered is not None:
            self._gathered.answers.append(partial(self.answer, frame))
        else:
            self._manager.send_to_client(self._connection, frame)

    def renew(self) -> None:
        """The client's role may be another: what it no longer allows ends at once."""
        for pattern, allowed in tuple(self._manager.subscriptions(self._connection).items()):
            now_allowed = self._selectors(pattern)
            if now_allowed == allowed:
                continue
            if now_allowed:
                self._subscribe_live(pattern, now_allowed)
            else:
                self._unsubscribe_live(pattern)
                self.answer(_ended(pattern))
            if isinstance(self._running, SubscriptionPass):
                self._running.replace_cover(pattern, self._cover(pattern))
        for each in (self._running, self._gathered):
            if isinstance(each, SubscriptionPass):
                each.restrict(self._selectors)

    def _perform(self, request: Request) -> None:
        if isinstance(request, Subscribe):
            self._subscribe(request)
        elif self._gathered is not None:
            self._gathered.withdraw(request.pattern)
            self._gathered.answers.append(partial(self._unsubscribe, request))
        else:
            self._unsubscribe(request)

    def _subscribe(self, request: Subscribe) -> None:
        allowed = self._selectors(request.pattern)
        if refusal := self._refusal(request, allowed):
            self.answer(refusal)
        elif request.asks_for_the_past:
            self._gather(request, allowed)
        elif self._gathered is not None:
            self._gathered.answers.append(partial(self._go_live, request))
        else:
            self._go_live(request)

    def _end_gathering(self) -> None:
        gathered, self._gathered = self._gathered, None
        if gathered is None:
            return
        live = self._manager.subscriptions(self._connection)
        gathered.begin(cover for each in live if (cover := self._cover(each)) is not None)
        self._run(gathered)

    def _cover(self, pattern: Pattern) -> Cover | None:
        """What the live subscription to `pattern` brings, None if there is none."""
        stand = self._manager.subscriptions(self._connection).get(pattern)
        return None if stand is None else Cover(pattern, stand, self._covered_by(pattern))

    def _covered_by(self, pattern: Pattern) -> dict[str, int]:
        if self._covered_epoch != self._streams.epoch:
            # Offsets began anew; every live subscription has brought all there was since.
            self._covered_epoch = self._streams.epoch
            self._covered = {each: {} for each in self._covered}
        allowed = self._manager.subscriptions(self._connection).get(pattern, ())
        # A stream that has begun since is covered from its beginning.
        begun = {
            kind: self._streams.beginnings[kind]
            for kind in self._streams.offsets_concerning(allowed)
        }
        return begun | self._covered.get(pattern, {})

    def _refusal(self, request: Subscribe, allowed: tuple[Pattern, ...]) -> bytes | None:
        if not allowed:
            return _forbidden(request.pattern, request.id)
        patterns = set(self._manager.subscriptions(self._connection))
        if self._gathered is not None:
            patterns.update(item.request.pattern for item in self._gathered.items)
        if request.pattern in patterns or len(patterns) < self._max_subscriptions:
            return None
        text = f"At most {self._max_subscriptions} subscriptions are allowed."
        return messages.error("bad_request", text, request.id)

    def _gather(self, request: Subscribe, allowed: tuple[Pattern, ...]) -> None:
        if self._gathered is None:
            self._gathered = SubscriptionPass(
                self._connection, self._manager, self._streams, self._finish_subscriptions
            )
        item = Item(request, allowed)
        if request.since is not None:
            item.recovered = request.epoch == self._streams.epoch
            if item.recovered:
                concerned = self._streams.offsets_concerning(allowed).keys() - {TASK}
                item.since = {
                    kind: offset for kind, offset in request.since.items() if kind in concerned
                }
        self._gathered.items.append(item)
        self._gathered.answers.append(partial(self._go_live_again, self._gathered, item))

    def _run(self, next_pass: Pass) -> None:
        self._running = next_pass
        if next_pass.is_complete:
            next_pass.finish()
        else:
            self._catch_up(next_pass)

    def _finish_tasks(self) -> None:
        task_pass, self._running = self._running, None
        assert isinstance(task_pass, TaskPass)
        self._receive_tasks(is_new=not task_pass.recovered)
        self._go_on()

    def _finish_subscriptions(self) -> None:
        finished, self._running = self._running, None
        assert isinstance(finished, SubscriptionPass)
        for answer in finished.answers:
            answer()
        self._go_on()

    def _go_on(self) -> None:
        """Do what has waited, up to the next pass that takes its time."""
        if self._is_going_on:
            return
        self._is_going_on = True
        while self._waiting and self._running is None:
            self._waiting.popleft()()
        if not self._waiting:
            self._waiting = None  # An empty deque takes 600 bytes.
        self._is_going_on = False

    def _wait(self, action: Callable[[], None]) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(action)

    def _receive_tasks(self, *, is_new: bool) -> None:
        if is_new:
            for frame in self._snapshots.unfinished_tasks(self._connection.identity.username):
                self._manager.send_to_client(self._connection, frame)
        self._manager.receive_tasks(self._connection)
        if tasks := self._streams.get(TASK):
            # From here the client can resume, even if no update ever comes.
            frame = messages.position(self._streams.epoch, {TASK: tasks.history.head})
            self._manager.send_to_client(self._connection, frame)

    def _go_live(self, request: Subscribe) -> None:
        """Subscribe from now on, if the client's role still allows it."""
        allowed = self._selectors(request.pattern)
        if not allowed:
            self.answer(_forbidden(request.pattern, request.id))
            return
        self._subscribe_live(request.pattern, allowed)
        self._welcome(request, allowed, None)

    def _go_live_again(self, finished: SubscriptionPass, item: Item) -> None:
        """Subscribe where `finished` has brought the client."""
        request = item.request
        if not item.selectors:
            self.answer(_forbidden(request.pattern, request.id))
            return
        if not item.is_withdrawn:
            since = item.since if finished.is_recoverable else {}
            self._subscribe_live(request.pattern, item.selectors, since)
        self._welcome(request, item.selectors, finished.recovered(item))

    def _welcome(
        self, request: Subscribe, allowed: tuple[Pattern, ...], recovered: bool | None
    ) -> None:
        asked = {} if recovered is None else {"recovered": recovered}
        self.answer(
            messages.success(
                "subscribe",
                f"Subscribed to topic '{request.pattern}'",
                request.id,
                topic=str(request.pattern),
                epoch=self._streams.epoch,
                position=self._streams.offsets_concerning(allowed),
                **asked,
            )
        )
        for topic, frame in self._snapshots.last_values(self._connection.identity, allowed):
            self._manager.show_to_client(self._connection, topic, frame)

    def _subscribe_live(
        self, pattern: Pattern, allowed: tuple[Pattern, ...], since: dict[str, int] | None = None
    ) -> None:
        """Subscribe; `since` are the offsets after which everything has been sent already."""
        before = self._covered_by(pattern)
        self._manager.subscribe(self._connection, pattern, allowed)
        # Who was ahead of the stream gets live what it is ahead.
        covered = {
            kind: min(head, (since or {}).get(kind, head))
            for kind, head in self._streams.offsets_concerning(allowed).items()
        }
        self._covered[pattern] = {
            kind: min(after, before.get(kind, after)) for kind, after in covered.items()
        }

    def _unsubscribe_live(self, pattern: Pattern) -> None:
        self._manager.unsubscribe(self._connection, pattern)
        self._covered.pop(pattern, None)

    def _unsubscribe(self, request: Unsubscribe) -> None:
        self._unsubscribe_live(request.pattern)
        self.answer(
            messages.success(
                "unsubscribe",
                f"Unsubscribed from topic '{request.pattern}'",
                request.id,
                topic=str(request.pattern),
            )
        )

    def _selectors(self, pattern: Pattern) -> tuple[Pattern, ...]:
        return selectors(self._connection.identity.role, pattern)


def _forbidden(pattern: Pattern, request_id: object = None) -> bytes:
    text = f"Not allowed to subscribe to topic '{pattern}'"
    return messages.error("forbidden", text, request_id)


def _ended(pattern: Pattern) -> bytes:
    """What answers no request names the topic."""
    text = f"Not allowed to subscribe to topic '{pattern}'"
    return messages.error("forbidden", text, topic=str(pattern))
