"""Parties take turns with places, and no place is lost."""

import asyncio

from edge.scheduling.turns import Turns


def test_parties_take_turns() -> None:
    async def run() -> list[str]:
        served: list[str] = []
        turns = Turns(1)

        async def work(party: str, name: str) -> None:
            async with turns.turn(party):
                served.append(name)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
                group.create_task(work(name[0], name))
        return served

    assert asyncio.run(run()) == ["a1", "a2", "b1", "c1", "a3", "b2"]


def test_one_that_goes_while_it_waits_or_as_its_turn_comes_takes_no_place_with_it() -> None:
    async def run() -> None:
        turns = Turns(1)
        loop = asyncio.get_running_loop()
        held: asyncio.Future[None] = loop.create_future()
        turns.ask(held, "a")
        waits = [asyncio.create_task(turns.turn("b").__aenter__()) for _ in range(2)]
        await asyncio.sleep(0)
        waits[0].cancel()
        await asyncio.sleep(0)
        turns.give_back(held)
        waits[1].cancel()
        await asyncio.wait(waits)
        free: asyncio.Future[None] = loop.create_future()
        turns.ask(free, "c")
        assert free.done()

    asyncio.run(run())


def test_a_place_that_waits_in_two_lines_is_given_once() -> None:
    async def run() -> None:
        turns = Turns(1)
        held, both, last = (asyncio.get_running_loop().create_future() for _ in range(3))
        turns.ask(held, "a")
        turns.ask(both, "a")
        turns.ask(both, "b")
        turns.ask(last, "b")
        turns.give_back(held)
        assert (both.done(), last.done()) == (True, False)
        turns.give_back(both)
        assert last.done()

    asyncio.run(run())


def test_a_party_has_some_of_the_places_at_a_time() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        turns = Turns(3, 2)
        of_a = [loop.create_future() for _ in range(4)]
        of_b = [loop.create_future() for _ in range(2)]
        for place in of_a:
            turns.ask(place, "a")
        assert [place.done() for place in of_a] == [True, True, False, False]
        for place in of_b:
            turns.ask(place, "b")
        assert [place.done() for place in of_b] == [True, False], "there are three"
        turns.give_back(of_a[0])
        assert [place.done() for place in of_a] == [True, True, True, False]
        turns.give_back(of_a[1])
        assert [place.done() for place in of_b] == [True, True]
        turns.give_back(of_b[0])
        assert of_a[3].done(), "a has one place again"
        for place in (of_a[2], of_a[3], of_b[1]):
            turns.give_back(place)
        again = [loop.create_future() for _ in range(3)]
        for number, place in enumerate(again):
            turns.ask(place, number)
        assert all(place.done() for place in again)

    asyncio.run(run())
