"""The fan-out's inner loop: one batch to many clients."""

import logging
from collections.abc import Iterable
from os import write
from typing import Any

from edge.core.hub.audience import FrameBatch
from edge.core.stats import EdgeStats
from edge.core.websocket.close_codes import Close
from relay.shared.logs import LimitedLog

FAULT = Close(1011, "internal error")

logger = logging.getLogger(__name__)
log = LimitedLog(logger)


def write_to_all(stats: EdgeStats, clients: Iterable[Any], batch: FrameBatch) -> None:
    """Send `batch` to `clients`: one system call for each client for which nothing waits.

    Does the same as `Client.send_batch`. It is written out here because a Python call for each
    client would cost more than everything else in this loop but the system call.
    """
    joined, count = batch.joined, batch.count
    size = len(joined)
    whole = 0
    for client in clients:
        try:
            fd = client.open_fd
            if fd < 0:
                client.send_batch(batch)
                continue
            try:
                taken = write(fd, joined)
            except OSError as error:
                client.failed(error, joined, count)
                continue
            if taken == size:
                whole += 1
            else:
                client.wrote(joined, taken, count)
        except Exception:
            # A fault with one connection must not stop the writes to the others.
            log.exception("write", "events could not be sent to a client")
            client.close(FAULT)
    stats.written += whole * count
