"""`Ingress`: the publishers of the relay, and the subscriptions that it has at all of them."""

from collections.abc import Iterable, Iterator

from relay.net.peer import Peer
from relay.net.port import Port
from relay.zmtp.connection import CANCEL, SUBSCRIBE
from relay.zmtp.frames import pack_message


class Ingress:
    """Every publisher is told the same subscriptions, one that comes later as well."""

    def __init__(self, port: Port, always: Iterable[bytes]) -> None:
        """The relay is always subscribed to the prefixes of `always`."""
        self._port = port
        self._prefixes = dict.fromkeys(always)
        port.listener = self

    def peer_opened(self, peer: Peer) -> None:
        """See `PeerListener`."""
        self._port.send(peer, b"".join(_packed(SUBSCRIBE, prefix) for prefix in self._prefixes))

    def peer_ended(self, peer: Peer) -> None:
        """See `PeerListener`."""

    def change(self, changes: Iterable[tuple[bool, bytes]]) -> None:
        """Make (True) and end subscriptions, in this order."""
        messages: list[bytes] = []
        for is_made, prefix in changes:
            if is_made:
                self._prefixes[prefix] = None
            else:
                self._prefixes.pop(prefix, None)
            messages.append(_packed(SUBSCRIBE if is_made else CANCEL, prefix))
        if messages:
            # Shared by all, and queued at once.
            joined = b"".join(messages)
            for peer in self._port.peers():
                self._port.send(peer, joined)

    def receive(self, share: int) -> Iterator[tuple[Peer, list[list[bytes]]]]:
        """Yield messages of one publisher after the other, at most `share` of each."""
        return self._port.receive(share)


def _packed(change: bytes, prefix: bytes) -> bytes:
    return pack_message((change + prefix,))
