"""Matters of a whole edge process: logging, garbage collection, and the end of an orphan."""

import gc
import logging
import multiprocessing
import os
import signal

from edge.config import EdgeSettings
from relay.shared.logs import configure

logger = logging.getLogger(__name__)


def configure_logging(settings: EdgeSettings) -> None:
    """Log to standard error, and uvicorn's warnings only: its handshake lines contain tokens."""
    configure("event-edge", settings.log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def tame_garbage_collection() -> None:
    """Collect garbage less often, and never among the objects that exist now.

    Reference counting frees clients when they go. With the default thresholds a storm of
    connections would have the collector walk thousands of live clients every few hundred objects.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def stop_if_orphaned() -> bool:
    """Stop this worker process if the process that started it is gone; return whether.

    A killed supervisor cannot stop its workers, and they would keep the port open.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        logger.warning("the process that started this worker is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)
        return True
    return False
