"""`Siblings`: the workers of one edge answer for each other, so that each can answer for all.

Every worker listens on a Unix socket in a directory that `event-edge` makes for them and that only
its user may enter. A question is one line; the answer is JSON, and ends with the connection.

The event path keeps its plain counters in this way. The multiprocess mode of prometheus_client
would keep each counter in a file, and its gauges outlive their worker.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from edge.process import is_orphaned
from relay.shared.logs import LimitedLog

ANSWER_TIMEOUT_S = 0.5
"""Seconds for a sibling to answer. A worker that stands still must not make all others silent."""
MAX_QUESTION_BYTES = 64
MAX_ANSWER_BYTES = 16 * 1024 * 1024
SUFFIX = ".worker"

logger = logging.getLogger(__name__)


class Siblings:
    """This worker and the others of its edge. Without a directory this worker is alone."""

    def __init__(
        self, directory: Path | None, name: str, answers: Mapping[str, Callable[[], object]]
    ) -> None:
        """`name` is unique among the workers. `answers` maps each question to the function that
        answers it for this worker."""
        self._directory = directory
        self._answers = answers
        self._name = f"{name}{SUFFIX}"
        self._log = LimitedLog(logger)

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Answer the questions of siblings while the body runs."""
        if self._directory is None:
            yield
            return
        path = self._directory / self._name
        try:
            # A worker with the same process id may have been killed.
            path.unlink(missing_ok=True)
            server = await asyncio.start_unix_server(self._answer, path, limit=MAX_QUESTION_BYTES)
        except OSError as error:
            logger.warning("this worker cannot answer for its edge: %s: %s", path, error.strerror)
            yield
            return
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)
            if is_orphaned():
                # Nobody else removes it. It is empty for the last worker only.
                with contextlib.suppress(OSError):
                    self._directory.rmdir()

    async def ask(self, question: str) -> list[Any]:
        """Return the answers of all workers, that of this one first."""
        # The same form as the others', whatever the types.
        own = orjson.loads(orjson.dumps(self._answers[question]()))
        found = await asyncio.gather(*(self._ask(path, question) for path in self._others()))
        return [own, *(answer for answer in found if answer is not None)]

    def _others(self) -> list[Path]:
        if self._directory is None:
            return []
        with contextlib.suppress(OSError):
            paths = sorted(self._directory.glob(f"*{SUFFIX}"))
            return [path for path in paths if path.name != self._name]
        return []

    async def _ask(self, path: Path, question: str) -> Any:
        """Return the answer of a sibling; None if it is gone or does not answer in time."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    writer.write(question.encode() + b"\n")
                    return orjson.loads(await _read_all(reader))
                finally:
                    writer.close()
        except ConnectionRefusedError:
            # It was killed, and another has taken its place under another name.
            _remove(path)
        except (OSError, TimeoutError, orjson.JSONDecodeError) as error:
            problem = str(error) or type(error).__name__
            self._log.warning("silent", "worker %s does not answer: %s", path.stem, problem)
        return None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                question = (await reader.readline()).decode().strip()
                answer = self._answers.get(question)
                if answer is not None:
                    writer.write(orjson.dumps(answer()))
                    await writer.drain()
        except (OSError, ValueError, TimeoutError):
            # The sibling has gone, or is none of ours.
            return
        finally:
            writer.close()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while chunk := await reader.read(65536):
        found += chunk
        if len(found) > MAX_ANSWER_BYTES:
            raise OSError("its answer is too long")
    return bytes(found)
