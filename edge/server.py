"""uvicorn's servers, which end the same way however often they are told to."""

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType

import uvicorn
from uvicorn.supervisors import Multiprocess

from relay.shared import program

EXIT_FAILED = 3
"""The application could not be started; the lines before say why."""


def serve(config: uvicorn.Config, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, with as many workers as `config` says."""
    if config.workers > 1:
        workers = _EdgeWorkers(config, sockets=[listener])
        workers.run()
        has_served = workers.was_told_to_stop
    else:
        server = _EdgeServer(config)
        for number in program.STOP_SIGNALS:
            signal.signal(number, server.handle_exit)
        server.run(sockets=[listener])
        has_served = server.started
    program.end()
    if not has_served:
        sys.exit(EXIT_FAILED)


class _EdgeServer(uvicorn.Server):
    """A second signal changes nothing: the end takes a few seconds at most.

    uvicorn would leave out the end of the application, and raise the signals once more.
    """

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See uvicorn."""
        self.should_exit = True


class _EdgeWorkers(Multiprocess):
    """A supervisor that alone decides when its workers end.

    A terminal sends Ctrl-C to the workers as well. They ignore it (`edge.process`), and until they
    can do so, it is kept from them.
    """

    was_told_to_stop = False

    def init_processes(self) -> None:
        """See uvicorn."""
        with _inherited_block():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        """See uvicorn."""
        with _inherited_block():
            super().keep_subprocess_alive()

    def handle_int(self) -> None:
        """See uvicorn."""
        self.was_told_to_stop = True
        super().handle_int()

    def handle_term(self) -> None:
        """See uvicorn."""
        self.was_told_to_stop = True
        super().handle_term()


@contextlib.contextmanager
def _inherited_block() -> Iterator[None]:
    """Hold SIGINT back; processes that are started meanwhile do so for good."""
    # Its first start would end the block, before the first worker is started.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
