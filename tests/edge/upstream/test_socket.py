"""A ZeroMQ socket on the event loop: nothing is left unread, and no reading is too long."""

import asyncio

from edge.upstream.subscriber import BATCH_BYTES, BATCH_MESSAGES
from relay.wire.envelope import MAX_ENVELOPE_BYTES
from tests.edge.upstream.scripted_relay import connected, until


def test_large_events_are_read_a_few_at_a_time() -> None:
    """512 events of 1 MiB would stop everything else for their whole half gigabyte."""
    batches: list[int] = []

    async def scenario() -> None:
        async with connected() as (relay, connection):

            def read() -> None:
                count = sum(1 for _ in connection.events.messages(BATCH_MESSAGES, BATCH_BYTES))
                if count:
                    batches.append(count)

            await relay.subscribed(b"event:")
            for number in range(20):
                await relay.send(b"event:a", b"%d" % number, bytes(MAX_ENVELOPE_BYTES))
            connection.events.add_reader(read)
            await until(lambda: sum(batches) == 20)

    asyncio.run(scenario())
    assert max(batches) <= BATCH_BYTES // MAX_ENVELOPE_BYTES
    assert len(batches) >= 20 * MAX_ENVELOPE_BYTES // BATCH_BYTES


def test_many_small_events_are_read_in_bounded_batches_in_their_order() -> None:
    seen: list[int] = []
    batches: list[int] = []

    async def scenario() -> None:
        async with connected() as (relay, connection):

            def read() -> None:
                before = len(seen)
                for frames in connection.events.messages(BATCH_MESSAGES, BATCH_BYTES):
                    seen.append(int(frames[1]))
                batches.append(len(seen) - before)

            await relay.subscribed(b"event:")
            for number in range(3 * BATCH_MESSAGES):
                await relay.send(b"event:a", b"%d" % number, b"")
            connection.events.add_reader(read)
            await until(lambda: len(seen) == 3 * BATCH_MESSAGES)

    asyncio.run(scenario())
    assert seen == list(range(3 * BATCH_MESSAGES))
    assert max(batches) <= BATCH_MESSAGES


def test_a_call_on_the_socket_does_not_hide_a_message() -> None:
    """It may use up the one change that the descriptor reports."""

    async def scenario() -> None:
        async with connected() as (relay, connection):
            seen: list[bytes] = []
            connection.events.add_reader(
                lambda: seen.extend(frames[1] for frames in connection.events.messages(9, 9))
            )
            await relay.subscribed(b"event:")
            for number in range(200):
                await relay.send(b"event:a", b"%d" % number)
                connection.events.subscribe(b"live:%d" % number)
                await until(lambda: len(seen) == number + 1)  # noqa: B023 - awaited at once

    asyncio.run(scenario())


def test_a_closed_socket_ignores_clients_that_leave_after_it() -> None:
    async def scenario() -> None:
        async with connected() as (_, connection):
            connection.close()
            connection.events.unsubscribe(b"event:")
            connection.events.subscribe(b"event:")
            await asyncio.sleep(0)

    asyncio.run(scenario())
