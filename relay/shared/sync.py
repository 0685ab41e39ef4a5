"""The sync handshake: tells a subscriber that its subscriptions are in place (protocol section 4).

ZeroMQ does not acknowledge a subscription. A subscriber therefore subscribes to `!sync:` and a
random nonce last; the relay publishes that topic when the subscription reaches it, and because
subscriptions of one socket stay in order, all earlier ones are in place then. This holds
for a connected socket only: on connecting, libzmq sends the subscriptions it has, sorted.
"""

import secrets

from relay.shared.transport import Socket
from relay.wire.control import SYNC_PREFIX


class SyncHandshake:
    """One handshake at a time on a SUB socket."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._nonce = b""
        """The topic that is subscribed to, empty while no handshake runs."""

    def begin(self) -> None:
        """Subscribe to a fresh nonce, and end an unanswered handshake."""
        self.end()
        self._nonce = SYNC_PREFIX + secrets.token_hex(8).encode()
        self._socket.subscribe(self._nonce)

    def is_answer(self, topic: bytes) -> bool:
        """Return whether a message of `topic` answers the handshake.

        Then every subscription that was made before `begin` is in place.
        """
        # An event with an empty topic must not pass for the answer while no handshake runs.
        return topic == self._nonce != b""

    def end(self) -> None:
        """Unsubscribe from the nonce.

        Without it, libzmq subscribes to the nonce again whenever it makes the connection anew, and
        another answer shows that messages may have been lost.
        """
        if self._nonce:
            self._socket.unsubscribe(self._nonce)
            self._nonce = b""
