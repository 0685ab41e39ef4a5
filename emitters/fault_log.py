"""Logging of exceptions that code of the caller raised, which may not even be readable."""

import logging
import threading

from emitters.core.readable import STOPS, type_name


def log_fault(logger: logging.Logger, error: BaseException, message: str, *args: object) -> None:
    """Log `message % args` as a warning with the traceback of `error`, or without if it has none
    that can be read. Raises nothing, except what a signal handler raises in the main thread."""
    try:
        logger.warning(message, *args, exc_info=error)
    except BaseException as fault:
        # Python calls signal handlers in the main thread only.
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and isinstance(fault, STOPS):
            raise
        logger.warning(f"{message} (%s, which cannot be shown)", *args, type_name(error))
