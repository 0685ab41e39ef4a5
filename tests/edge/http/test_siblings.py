"""Workers that answer for each other, over real sockets in one directory."""

import asyncio
import logging
import socket
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from edge.http import siblings as module
from edge.http.siblings import SUFFIX, Siblings

Scenario = Callable[[AsyncExitStack], Coroutine[Any, Any, None]]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path, for a Unix socket allows 107 bytes."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def worker(directory: Path | None, name: str) -> Siblings:
    return Siblings(directory, name, {"who": lambda: name, "trouble": lambda: None})


async def start(stack: AsyncExitStack, directory: Path, *names: str) -> list[Siblings]:
    workers = [worker(directory, name) for name in names]
    for each in workers:
        await stack.enter_async_context(each.answering())
    return workers


def play(scenario: Scenario) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), AsyncExitStack() as stack:
            await scenario(stack)

    asyncio.run(run())


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_each_worker_answers_for_all_and_itself_first(directory: Path) -> None:
    async def scenario(stack: AsyncExitStack) -> None:
        workers = await start(stack, directory, "a", "b", "c")
        answers = [await each.ask("who") for each in workers]
        assert answers == [["a", "b", "c"], ["b", "a", "c"], ["c", "a", "b"]]
        assert await workers[0].ask("trouble") == [None]

    play(scenario)
    assert names_in(directory) == []


def test_a_worker_alone_answers_for_itself() -> None:
    async def scenario(stack: AsyncExitStack) -> None:
        alone = worker(None, "alone")
        await stack.enter_async_context(alone.answering())
        assert await alone.ask("who") == ["alone"]

    play(scenario)


def test_a_killed_worker_is_forgotten(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(directory / f"killed{SUFFIX}"))

    async def scenario(stack: AsyncExitStack) -> None:
        [first] = await start(stack, directory, "first")
        assert await first.ask("who") == ["first"]
        assert names_in(directory) == [f"first{SUFFIX}"]

    play(scenario)


def test_a_process_id_that_is_used_again_is_no_trouble(directory: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(directory / f"same{SUFFIX}"))

    async def scenario(stack: AsyncExitStack) -> None:
        first, _ = await start(stack, directory, "first", "same")
        assert await first.ask("who") == ["first", "same"]

    play(scenario)


@pytest.mark.parametrize("says", [None, b"", b"nonsense", b"{", b"x" * 1000])
def test_a_worker_that_does_not_answer_is_left_out_and_logged(
    directory: Path,
    says: bytes | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 500)

    async def scenario(stack: AsyncExitStack) -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if says is None:
                await asyncio.Event().wait()
            else:
                writer.write(says)
                writer.close()

        path = directory / f"odd{SUFFIX}"
        stack.push_async_callback(stop, await asyncio.start_unix_server(answer, path))
        first, _ = await start(stack, directory, "first", "second")
        for _ in range(3):
            assert await first.ask("who") == ["first", "second"]

    async def stop(server: asyncio.Server) -> None:
        server.close()

    with caplog.at_level(logging.WARNING):
        play(scenario)
    [line] = [each.getMessage() for each in caplog.records if "odd" in each.getMessage()]
    assert line.startswith("worker odd does not answer: ")


@pytest.mark.parametrize("asked", [b"", b"\n", b"unknown\n", b"\xff\n", b"x" * 1000])
def test_a_question_that_is_none_has_no_answer_and_harms_nothing(
    directory: Path, asked: bytes
) -> None:
    async def scenario(stack: AsyncExitStack) -> None:
        first, _ = await start(stack, directory, "first", "second")
        reader, writer = await asyncio.open_unix_connection(directory / f"second{SUFFIX}")
        writer.write(asked)
        writer.write_eof()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert await first.ask("who") == ["first", "second"]

    play(scenario)


def test_a_directory_that_is_gone_leaves_a_worker_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(stack: AsyncExitStack) -> None:
        [only] = await start(stack, tmp_path / "gone", "only")
        assert await only.ask("who") == ["only"]

    with caplog.at_level(logging.WARNING):
        play(scenario)
    assert "this worker cannot answer for its edge" in caplog.text
