"""`Egress`: the subscribers of the relay, what they are subscribed to, and what is sent to them."""

from collections.abc import Callable, Sequence

from relay.core.subscribers import Subscribers, TooManySubscriptions
from relay.net.peer import Peer
from relay.net.port import Port
from relay.wire.header import StampedFrames
from relay.zmtp.connection import CANCEL, SUBSCRIBE
from relay.zmtp.frames import pack_three

Route = Callable[[bytes, bool, bool], None]
"""Called with a prefix, whether a subscription to it is made or ended, and whether that changes
something: a subscriber may subscribe to a prefix that it has already."""


class Egress:
    """Sends each event to the peers that are subscribed to a prefix of its topic."""

    def __init__(self, port: Port, max_queued: int, route: Route) -> None:
        """At most `max_queued` messages wait for one subscriber; of more, the newest are dropped.

        A subscriber sees from the offsets that something is missing.
        """
        self._port = port
        self._max_queued = max_queued
        self._route = route
        self._subscribers: Subscribers[Peer] = Subscribers()
        self._malformed = 0
        port.listener = self

    def peer_opened(self, peer: Peer) -> None:
        """See `PeerListener`."""

    def peer_ended(self, peer: Peer) -> None:
        """See `PeerListener`."""
        self._subscribers.forget(peer)

    @property
    def has_gone(self) -> bool:
        """Whether `end_gone` has something to do."""
        return self._subscribers.has_gone

    def end_gone(self, most: int) -> None:
        """End up to `most` subscriptions of peers that have gone."""
        for prefix in self._subscribers.remove_gone(most):
            self._route(prefix, False, True)

    def receive(self, share: int, most: int) -> None:
        """Take subscriptions: at most `share` of each peer, and about `most` of all."""
        left = most
        for peer, messages in self._port.receive(share):
            for frames in messages:
                if peer.is_ended:
                    break
                self._take(peer, frames)
            left -= len(messages)
            if left <= 0:
                return

    def shrink(self) -> None:
        """Give back the room of subscriptions that have gone."""
        self._subscribers.shrink()

    def take_malformed(self) -> int:
        """Return how many messages since the last call were no subscription."""
        malformed, self._malformed = self._malformed, 0
        return malformed

    def publish(self, events: Sequence[StampedFrames]) -> None:
        """Queue events for their subscribers."""
        send, subscribed, most = self._port.send, self._subscribers.of, self._max_queued
        for topic, stamp, body in events:
            if peers := subscribed(topic):
                packed = pack_three(topic, stamp, body)
                for peer in peers:
                    if len(peer.queue) < most:
                        send(peer, packed)

    def _take(self, peer: Peer, frames: list[bytes]) -> None:
        frame = frames[0]
        first, prefix = frame[:1], frame[1:]
        if len(frames) != 1 or first not in (SUBSCRIBE, CANCEL):
            self._malformed += 1
        elif first == CANCEL:
            self._route(prefix, False, self._subscribers.unsubscribe(peer, prefix))
        else:
            try:
                is_new = self._subscribers.subscribe(peer, prefix)
            except TooManySubscriptions as error:
                self._port.cut_off(peer, "too_many_subscriptions", str(error))
                return
            self._route(prefix, True, is_new)
            if (most := self._subscribers.over()) is not None:
                text = "it has the most subscriptions, and there is no room for those of all"
                self._port.cut_off(most, "too_many_subscriptions", text)
