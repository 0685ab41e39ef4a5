"""Matters of a whole edge process: logging, garbage collection, and the end of an orphan."""

import faulthandler
import gc
import logging
import multiprocessing
import os
import signal

from edge.config import EdgeSettings
from relay.shared.descriptor_room import OWN, DescriptorRoom
from relay.shared.descriptors import raise_limit
from relay.shared.logs import LimitedRecords, configure
from relay.shared.posix import resource
from relay.shared.process_room import require_room
from relay.shared.settings import SettingsError

PROGRAM = "event-edge"
LONGEST_BACKLOG = 4096
"""Connections that the kernel holds for a worker, if there are descriptors for them."""
NEEDED_THREADS = 8
"""Two of libzmq, those that check passwords and read files."""
NEEDED_BYTES = 640 * 1024 * 1024
"""Address space beside the bounds of settings: mostly stacks and heaps of threads."""

logger = logging.getLogger(__name__)


def configure_logging(settings: EdgeSettings) -> None:
    """Log to standard error, and of the server warnings only: handshake lines contain tokens."""
    configure(PROGRAM, settings.log_level)
    # The commands `uvicorn` and `granian` have set a level for each of these.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "_granian"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Strangers cause these lines: requests that are not HTTP, text that is not UTF-8, and, under
    # hypercorn, connections that end while it writes.
    logging.getLogger("uvicorn.error").addFilter(_without_blame)
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(LimitedRecords())


def _without_blame(record: logging.LogRecord) -> bool:
    """Take the traceback from a record about bad UTF-8: it is the client's fault, not ours."""
    if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True


def prepare_worker_process() -> None:
    """Leave Ctrl-C to the process that started this one, and say where a crash happens."""
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        faulthandler.enable()


def descriptor_room(max_connections: int) -> DescriptorRoom:
    """Raise the limit of descriptors for `max_connections` clients of each worker.

    Raises `SettingsError` if it cannot be raised so far that there is room for any, or if the
    process may not start threads or use the memory that it needs.
    """
    room = raised_room(max_connections)
    if not room.is_enough_to_start:
        raise SettingsError(
            f"EDGE_MAX_CONNECTIONS: this process may open {room.limit} file descriptors only,"
            " too few for any client; raise the limit (LimitNOFILE, ulimit -n)"
        )
    require_room(OWN, NEEDED_THREADS, NEEDED_BYTES)
    return room


def raised_room(max_connections: int) -> DescriptorRoom:
    """Raise the limit of descriptors as far as possible, and return what it allows."""
    limit = raise_limit(DescriptorRoom.needed(max_connections, LONGEST_BACKLOG))
    return DescriptorRoom(limit, max_connections, LONGEST_BACKLOG)


def warn_of_too_few_descriptors(room: DescriptorRoom, max_connections: int) -> None:
    """Log how many clients a worker takes if they are fewer than `max_connections`."""
    if room.max_connections < max_connections:
        logger.warning(
            "EDGE_MAX_CONNECTIONS is %d, but %d file descriptors allow %d connections only;"
            " raise the limit (LimitNOFILE, ulimit -n)",
            max_connections,
            room.limit,
            room.max_connections,
        )


def warn_of_too_little_memory(settings: EdgeSettings) -> None:
    """Log that the bounds of `settings` exceed the address space that this process may use.

    Without memory, native libraries crash.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    bounds = settings.history_bytes + settings.max_queued_total_bytes
    if limit != resource.RLIM_INFINITY and bounds + NEEDED_BYTES > limit:
        logger.warning(
            "EDGE_HISTORY_BYTES and EDGE_MAX_QUEUED_TOTAL_BYTES allow %d MiB, and this process may"
            " use %d MiB of address space in all (LimitAS, ulimit -v): it may crash",
            bounds // 2**20,
            limit // 2**20,
        )


def tame_garbage_collection() -> None:
    """Collect garbage less often, and never among the objects that exist now.

    Reference counting frees clients when they go. With the default thresholds a storm of
    connections would have the collector walk thousands of live clients every few hundred objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def is_orphaned() -> bool:
    """Return whether the process that started this worker is gone."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def stop_if_orphaned() -> bool:
    """Stop this worker process if the process that started it is gone; return whether.

    A killed supervisor cannot stop its workers, and they would keep the port open.
    """
    if is_orphaned():
        logger.warning("the process that started this worker is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)
        return True
    return False
