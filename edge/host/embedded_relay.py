"""`EmbeddedRelay`: a relay beside the application, for those who run no relay of their own.

The relay is a child process that ends with this one, however that ends. Of all processes with the
same data directory one has the lock, and its child is the relay of all; when that process ends,
another one goes on, with the same journal. A relay that somebody else runs at the same address is
used, and none is started.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Self

from edge.config import EdgeSettings
from relay.config import RelaySettings
from relay.shared.addresses import parse_zmq_address
from relay.shared.file_lock import PathInUse, lock_beside
from relay.shared.private_modes import make_private_directory
from relay.shared.settings import SettingsError, load

RETRY_S = 0.5
"""Seconds between two looks at the lock, or at a relay that somebody else runs."""
STOP_TIMEOUT_S = 10.0
MAX_RETRY_S = 10.0
"""Seconds at most before a relay that cannot run is started again."""

logger = logging.getLogger(__name__)


class EmbeddedRelay:
    """Runs the relay at `egress` and `control` while nobody else does."""

    def __init__(self, egress: str, control: str, data_dir: Path) -> None:
        """`data_dir` is that of the journal, the `RELAY_DATA_DIR`.

        Other settings come from the environment, as those of every relay.
        """
        self._control = parse_zmq_address(control)
        self._data_dir = data_dir
        self._env = {
            **os.environ,
            "RELAY_EGRESS": egress,
            "RELAY_CONTROL": control,
            "RELAY_DATA_DIR": str(data_dir),
        }
        self._retry_s = RETRY_S

    @classmethod
    def of(cls, settings: EdgeSettings) -> Self:
        """Return the relay for an edge with `settings`. Raises `SettingsError`."""
        return cls(settings.relay_egress, settings.relay_control, load(RelaySettings).data_dir)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look after the relay while the body runs."""
        try:
            make_private_directory(self._data_dir)
            lock = self._lock()
        except OSError as error:
            raise SettingsError(f"RELAY_DATA_DIR: {self._data_dir}: {error.strerror}") from None
        looking_after = asyncio.create_task(self._look_after(lock))
        try:
            yield
        finally:
            looking_after.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking_after

    async def _look_after(self, lock: IO[bytes] | None) -> None:
        try:
            while True:
                try:
                    if lock is None:
                        lock = self._lock()
                    if lock is None or await self._is_taken():
                        await asyncio.sleep(RETRY_S)
                    else:
                        await self._run_child()
                except OSError as error:
                    # Descriptors or memory are short, or the directory is gone.
                    await self._wait_after(f"cannot be started: {error}")
        finally:
            if lock is not None:
                lock.close()

    def _lock(self) -> IO[bytes] | None:
        """Return the lock, None if another process has it."""
        try:
            return lock_beside(self._data_dir / "embedded")
        except PathInUse:
            return None

    async def _is_taken(self) -> bool:
        """Return whether a process listens at the control address."""
        address = self._control
        try:
            async with asyncio.timeout(RETRY_S):
                if address.path:
                    _, writer = await asyncio.open_unix_connection(address.path)
                else:
                    _, writer = await asyncio.open_connection(address.host, address.port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    async def _run_child(self) -> None:
        """Start the relay and wait for its end; end it when this task is cancelled."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            # No folder `relay` of the application is taken for ours.
            "-P",
            "-m",
            "relay.embedded",
            stdin=asyncio.subprocess.PIPE,
            env=self._env,
            # Ctrl-C in a terminal is for this process, which ends the relay last.
            start_new_session=True,
        )
        logger.info("started a relay beside this process, process id %d", child.pid)
        started_at = time.monotonic()
        try:
            status = await child.wait()
        except asyncio.CancelledError:
            await _stop(child)
            raise
        if time.monotonic() - started_at > MAX_RETRY_S:
            self._retry_s = RETRY_S
        await self._wait_after(f"has ended with {status}")

    async def _wait_after(self, trouble: str) -> None:
        logger.error(
            "the relay beside this process %s; trying again in %g s", trouble, self._retry_s
        )
        await asyncio.sleep(self._retry_s)
        self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)


async def _stop(child: asyncio.subprocess.Process) -> None:
    """Let `child` end, which it does when its standard input is closed."""
    assert child.stdin is not None
    child.stdin.close()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
