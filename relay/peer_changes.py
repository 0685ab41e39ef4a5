"""`PeerChanges`: the peers that `relay.toml` lists, as it is now."""

import contextlib
import logging
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from relay.shared.config_file import ConfigFile
from relay.shared.watched_config import WatchedConfig
from relay.wire.peers import ListedPeer

logger = logging.getLogger(__name__)


class PeerChanges:
    """Reads a changed file in a thread; the loop asks for the result. `close` at the end."""

    def __init__(self, peers: Iterable[ListedPeer], file: WatchedConfig) -> None:
        """`peers` are those that count now. Without any, the relay stays open."""
        self._peers = tuple(peers)
        self._file = file if self._peers else None
        self._reader = ThreadPoolExecutor(1, "peers")
        self._reading: Future[ConfigFile | None] | None = None

    def close(self) -> None:
        """End the thread."""
        self._reader.shutdown()

    def look(self) -> tuple[ListedPeer, ...] | None:
        """Return the peers if others count now, None if not. Waits for nothing."""
        if self._file is None:
            return None
        if self._reading is None:
            if self._file.has_changed():
                # Without a thread there is a later look.
                with contextlib.suppress(RuntimeError):
                    self._reading = self._reader.submit(self._file.read)
            return None
        if not self._reading.done():
            return None
        found, self._reading = self._reading.result(), None
        return None if found is None else self._changed(found)

    def _changed(self, found: ConfigFile) -> tuple[ListedPeer, ...] | None:
        if found.peers == self._peers:
            return None
        if not found.peers:
            # A mistake more likely than a wish, and the relay would be open to everybody.
            logger.error("%s lists no peers any more: those before stay, until a start", found.name)
            return None
        self._peers = found.peers
        logger.info("the peers of %s have changed", found.name)
        return found.peers
