"""`Conversation`: the client's side of `/ws`, across all connections of one client (protocol
section 7).

It makes the same decisions as `edge/static/relay-client.js`. The shell opens sockets, sends the
requests that it takes from here, and hands in messages and the time.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from edge.client.core.calls import CallTable
from edge.client.core.errors import ClientError, ClosedByEdge, RequestRefused, TokenRefused, refusal
from edge.client.core.liveness import Liveness, Pulse
from edge.client.core.messages import (
    PERSONAL_STREAMS,
    ConnectionState,
    Event,
    Loss,
    NewEpoch,
    Unrecovered,
    parse_event,
    parse_gap,
)
from edge.client.core.policy import (
    CloseAction,
    Random,
    close_action,
    renew_delay_s,
    retry_delay_s,
    told_delay_s,
)
from edge.client.core.position import KnownTasks, SeenPosition, is_epoch
from edge.client.core.subscriptions import (
    ClientSubscription,
    RequestState,
    Sink,
    SubscriptionTable,
)

PROBE_TOPIC = "event:is-anybody-there"

ClientRequest = dict[str, Any]
"""A request on its way to the edge, with its `id`."""


class Observer(Protocol):
    """The receiver of everything that concerns the client as a whole."""

    def state_changed(self, state: ConnectionState) -> None:
        """The client is in another state."""

    def lost(self, loss: Loss, sinks: Iterable[Sink]) -> None:
        """Events are lost, which may have been for these sinks."""

    def failed(self, error: RequestRefused) -> None:
        """A request was refused that belongs to no sink."""


class _Unanswered(NamedTuple):
    request: ClientRequest
    subscription: ClientSubscription | None


class Conversation:
    """Authenticates and subscribes; resumes on each further connection. Times are monotonic, in
    seconds."""

    def __init__(
        self, url: str, observer: Observer, *, max_delay_s: float, has_fresh_tokens: bool
    ) -> None:
        """`max_delay_s` is the longest usual delay between two tries.

        `has_fresh_tokens`: each connection gets a new token. Then a refusal may be one too old.
        """
        self.state = ConnectionState("connecting")
        self.seen = SeenPosition()
        self.renew_in_s: float | None = None
        """Seconds from the last authentication reply to the renewal; None until one came."""
        self.error: ClientError | None = None
        """The error that ended the client, None while it goes on."""
        self.calls = CallTable()
        """Events and calls of the application."""
        self._url = url
        self._max_delay_s = max_delay_s
        self._has_fresh_tokens = has_fresh_tokens
        self._observer = observer
        self._subscriptions = SubscriptionTable()
        self._personal: dict[str, list[Sink]] = {stream: [] for stream in PERSONAL_STREAMS}
        self._known_tasks = KnownTasks()
        self._restart: NewEpoch | None = None
        """A change of epoch that nobody has been told. It waits until all subscriptions are live:
        an application that loads its data again before that would have a hole."""
        self._failed_attempts = 0
        self._token_was_refused = False
        self._next_id = 1
        self._requests: list[ClientRequest] = []
        self._reset()

    def _reset(self) -> None:
        """Begin without a connection."""
        self._liveness: Liveness | None = None
        self._is_authenticated = False
        self._is_epoch_known = False
        self._has_loss = False
        self._username = ""
        self._requests.clear()
        self._unanswered: dict[int, _Unanswered] = {}
        self.renew_in_s = None
        self._subscriptions.connection_lost()
        self.calls.connection_lost()

    # Sinks.

    def subscribe(self, pattern: str, sink: Sink, last: int | None = None) -> ClientSubscription:
        """Pass events of `pattern` to `sink`; `last` counts for the first sink of a pattern."""
        subscription = self._subscriptions.add(pattern, sink, last)
        if subscription.is_confirmed:
            sink.confirmed()
        self._request_subscriptions()
        return subscription

    def unsubscribe(self, subscription: ClientSubscription, sink: Sink) -> None:
        """Pass nothing more to `sink`."""
        is_last = self._subscriptions.remove(subscription, sink)
        if is_last and subscription.state is RequestState.REQUESTED:
            self._request({"action": "unsubscribe", "topic": subscription.pattern})

    def listen(self, stream: str, sink: Sink) -> None:
        """Pass events of `task` or `addressed` to `sink`; they come without a subscription.

        The states of unfinished tasks come at once, as they come to a new connection.
        """
        self._personal[stream].append(sink)
        if stream == "task":
            for event in self._known_tasks.unfinished:
                sink.event(event)

    def stop_listening(self, stream: str, sink: Sink) -> None:
        """Pass nothing more of `task` or `addressed` to `sink`."""
        if sink in self._personal[stream]:
            self._personal[stream].remove(sink)

    # The life of one connection.

    @property
    def address(self) -> str:
        """The URL. It carries the position in the streams that have no subscription."""
        offsets = self.seen.offsets
        since = "".join(f"&{s}={offsets[s]}" for s in PERSONAL_STREAMS if s in offsets)
        if self.seen.epoch is None or not since:
            return self._url
        return f"{self._url}{'&' if '?' in self._url else '?'}epoch={self.seen.epoch}{since}"

    @property
    def deadline(self) -> float | None:
        """The time at which `check` must be called, unless a message comes before."""
        return None if self._liveness is None else self._liveness.deadline

    def connecting(self) -> None:
        """A new connection is about to be opened."""
        self._reset()
        before = self.state
        self._set_state(ConnectionState("connecting", before.code, before.reason))

    def opened(self, token: str, now: float) -> None:
        """The socket is open: authenticate."""
        self._liveness = Liveness(now, may_catch_up=self.seen.epoch is not None)
        self._request({"action": "authenticate", "token": token})

    def renew(self, token: str) -> None:
        """Present a new token of the same user."""
        self._request({"action": "authenticate", "token": token})

    def heard(self, now: float) -> None:
        """The connection is not silent: the application has read messages that waited for it."""
        if self._liveness is not None:
            self._liveness.heard(now)

    def check(self, now: float) -> str | None:
        """Act on a deadline. Return the reason if the connection is lost, else None."""
        pulse = Pulse.ALIVE if self._liveness is None else self._liveness.check(now)
        if pulse is Pulse.ASK:
            self._request({"action": "unsubscribe", "topic": PROBE_TOPIC})
        return self._liveness.reason if pulse is Pulse.LOST and self._liveness else None

    def lost(self, code: int, reason: str, random: Random) -> float | None:
        """The connection has ended, or there was none.

        Return the seconds until the next try; None if there is none, and `error` tells why.
        """
        self._reset()
        action = close_action(code)
        if action is CloseAction.STOP:
            self.error = ClosedByEdge(code, reason)
            self._set_state(ConnectionState("closed", code, reason))
            return None
        if action is CloseAction.AUTHENTICATE:
            if self._token_was_refused or not self._has_fresh_tokens:
                self.error = TokenRefused(code, reason)
                self._set_state(ConnectionState("unauthenticated", code, reason))
                return None
            self._token_was_refused = True
        delay_s = told_delay_s(reason, random)
        if delay_s is None:
            delay_s = retry_delay_s(action, self._failed_attempts, self._max_delay_s, random)
        self._failed_attempts += 1
        self._set_state(ConnectionState("waiting", code, reason, delay_s))
        return delay_s

    def closed(self) -> None:
        """The application has closed the client."""
        self._reset()
        self.calls.close()
        if self.error is None:
            self._set_state(ConnectionState("closed", 1000, "Closed by the application"))

    # Messages.

    def take_requests(self, now: float) -> list[ClientRequest]:
        """Return the requests to send, in order: subscriptions before what is published."""
        requests, self._requests = self._requests, []
        return requests + self.calls.take(now)

    def received(self, message: object, now: float) -> None:
        """Act on one message of the edge. Messages of an unknown type are ignored."""
        if self._liveness is None or not isinstance(message, Mapping):
            return
        self._liveness.heard(now)
        if isinstance(message.get("topic"), str) and isinstance(message.get("type"), str):
            self._deliver(parse_event(message))
        elif message.get("type") == "position":
            # During a catch-up the position may be ahead of the events that are still to come.
            self._adopt(message, keeps_known=self.state.name != "live")
        elif message.get("type") == "gap":
            self._gap(message)
        elif isinstance(message.get("status"), str):
            self._replied(message, now)

    def _deliver(self, event: Event) -> None:
        # These alone come before the epoch is known; under another epoch offsets mean nothing.
        is_comparable = self._is_epoch_known or event.stream not in PERSONAL_STREAMS
        # A retained state is no event of the stream: its offset and the position are unrelated.
        is_known = (
            self._known_tasks.has(event)
            if event.retained
            else not self.seen.is_beyond(event.stream, event.offset)
        )
        is_repeat = is_comparable and is_known
        if not event.retained:
            self.seen.advance(event.stream, event.offset)
        if event.stream in self._personal and not is_repeat:
            if event.stream == "task":
                self._known_tasks.add(event)
            for sink in tuple(self._personal[event.stream]):
                sink.event(event)
        self._subscriptions.dispatch(event, is_repeat=is_repeat)

    def _gap(self, message: Mapping[str, Any]) -> None:
        gap = parse_gap(message)
        if gap is None:
            return
        self._has_loss = True
        if self.seen.is_beyond(gap.stream, gap.last):
            self.seen.advance(gap.stream, gap.last)
            personal = self._personal.get(gap.stream, [])
            self._observer.lost(gap, self._subscriptions.sinks_of(gap.stream) + personal)

    def _adopt(self, message: Mapping[str, Any], *, keeps_known: bool = False) -> None:
        restart = self.seen.adopt(message, keeps_known=keeps_known)
        self._is_epoch_known = self._is_epoch_known or is_epoch(message.get("epoch"))
        if self._liveness is not None:
            self._liveness.may_catch_up = self._is_epoch_known
        if restart is None:
            return
        self._has_loss = True
        self._known_tasks.clear()
        previous = restart.previous if self._restart is None else self._restart.previous
        self._restart = NewEpoch(restart.epoch, previous)
        self._report_restart()

    def _replied(self, reply: Mapping[str, Any], now: float) -> None:
        if self.calls.received(reply):
            return
        request_id = reply.get("id")
        found = self._unanswered.pop(request_id, None) if isinstance(request_id, int) else None
        if reply["status"] == "error":
            self._refused(found, reply)
        elif found is not None:
            if found.request["action"] == "authenticate":
                self._authenticated(reply)
            elif found.subscription is not None:
                self._granted(found.subscription, found.request, reply)
        self._request_subscriptions()
        self._become_live_when_replied(now)

    def _authenticated(self, reply: Mapping[str, Any]) -> None:
        self._username = str(reply.get("username", ""))
        remaining_s = reply.get("expires_in")
        if isinstance(remaining_s, int | float) and self._has_fresh_tokens:
            self.renew_in_s = renew_delay_s(remaining_s)
        self._is_authenticated = True
        self.calls.opened()
        self._subscriptions.retry_refused()

    def _granted(
        self, subscription: ClientSubscription, request: ClientRequest, reply: Mapping[str, Any]
    ) -> None:
        self._adopt(reply)
        is_unexplained = reply.get("recovered") is False and not self._has_loss
        if is_unexplained and "since" in request:
            self._observer.lost(Unrecovered(subscription.pattern), tuple(subscription.sinks))
        subscription.grant(has_streams=bool(reply.get("position")))

    def _refused(self, found: _Unanswered | None, reply: Mapping[str, Any]) -> None:
        code, text = str(reply.get("code", "error")), str(reply.get("message", ""))
        topic = found.request.get("topic") if found else reply.get("topic")
        error = refusal(code, text, topic if isinstance(topic, str) else None)
        if found is not None and found.subscription is not None:
            found.subscription.refuse(error)
        elif found is not None or not self._subscriptions.ended(str(topic), error):
            self._observer.failed(error)

    # Requests.

    def _request(
        self, request: ClientRequest, subscription: ClientSubscription | None = None
    ) -> None:
        if self._liveness is None:
            return
        request["id"] = self._next_id
        self._unanswered[self._next_id] = _Unanswered(request, subscription)
        self._next_id += 1
        self._requests.append(request)

    def _request_subscriptions(self) -> None:
        """Request every subscription that this connection has not requested yet.

        Subscriptions of an earlier connection come first and catch up together. New ones wait for
        that: their live events would come in the middle of older ones, and the position of their
        reply would skip those.
        """
        if not self._is_authenticated:
            return
        fresh, resumed = [], []
        for each in self._subscriptions:
            if each.state is RequestState.IDLE:
                since = self.seen.since(each.pattern)
                if since is None:
                    self._send_subscribe(each, last=each.last)
                elif each.is_confirmed:
                    resumed.append((each, since))
                else:
                    fresh.append(each)
        for number, (each, since) in enumerate(resumed, 1):
            more = True if number < len(resumed) else None
            self._send_subscribe(each, since=since, epoch=self.seen.epoch, more=more)
        if not any("since" in waiting.request for waiting in self._unanswered.values()):
            for each in fresh:
                self._send_subscribe(each, last=each.last)

    def _send_subscribe(self, subscription: ClientSubscription, **options: Any) -> None:
        given = {name: value for name, value in options.items() if value is not None}
        subscription.requested(given.get("last"))
        topic = {"action": "subscribe", "topic": subscription.pattern}
        self._request(topic | given, subscription)

    # States.

    def _become_live_when_replied(self, now: float) -> None:
        if not self._is_authenticated or self._unanswered:
            return
        if self.state.name != "live":
            self._failed_attempts = 0
            self._token_was_refused = False
            if self._liveness is not None:
                self._liveness.live(now)
            self._set_state(ConnectionState("live", username=self._username))
        self._report_restart()

    def _report_restart(self) -> None:
        restart = self._restart
        if restart is None or self.state.name != "live" or self._unanswered:
            return
        self._restart = None
        personal = [sink for sinks in self._personal.values() for sink in sinks]
        self._observer.lost(restart, self._subscriptions.sinks_of(None) + personal)

    def _set_state(self, state: ConnectionState) -> None:
        self.state = state
        self._observer.state_changed(state)
