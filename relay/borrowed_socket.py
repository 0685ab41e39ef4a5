"""Connections that libzmq owns, looked at or ended by their descriptors."""

import contextlib
import logging
import socket
from collections.abc import Iterator

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def borrowed_socket(descriptor: int) -> Iterator[socket.socket]:
    """Lend the connection on `descriptor`, which stays libzmq's. Raises `OSError` if it has none.

    The connection may have ended, and its descriptor may be another one's.
    """
    connection = socket.socket(fileno=descriptor)
    try:
        yield connection
    finally:
        connection.detach()


def shut_down(descriptor: int) -> None:
    """End the connection; libzmq notices, drops its queue, and closes the descriptor."""
    try:
        with borrowed_socket(descriptor) as connection:
            connection.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        logger.debug("a connection had ended: %s", error)
