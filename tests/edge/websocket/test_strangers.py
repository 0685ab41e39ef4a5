"""Silent connections give way, the oldest first, and nobody who is known does."""

import asyncio
from collections.abc import Callable
from functools import partial

from edge.websocket.strangers import Strangers


class Stage:
    """Strangers by number, and those that gave way."""

    def __init__(self, max_count: int) -> None:
        self.gone: list[int] = []
        self.known: set[int] = set()
        self.counted = 0
        self.strangers = Strangers(asyncio.get_running_loop(), max_count, self._count)

    def add(self, *numbers: int) -> None:
        """Newcomers."""
        for number in numbers:
            self.strangers.add(
                number, partial(self.gone.append, number), partial(self.known.__contains__, number)
            )

    def _count(self) -> None:
        self.counted += 1


def on_stage(max_count: int, scenario: Callable[[Stage], None]) -> None:
    async def play() -> None:
        scenario(Stage(max_count))

    asyncio.run(play())


def test_the_oldest_gives_way_to_one_too_many() -> None:
    def scenario(stage: Stage) -> None:
        stage.add(1, 2, 3)
        assert stage.gone == []
        stage.add(4, 5)
        assert (stage.gone, stage.counted, len(stage.strangers)) == ([1, 2], 2, 3)

    on_stage(3, scenario)


def test_one_that_is_known_by_now_stays() -> None:
    def scenario(stage: Stage) -> None:
        stage.add(1, 2, 3)
        stage.known |= {1, 2}
        stage.add(4)
        assert (stage.gone, len(stage.strangers)) == ([], 2)
        assert stage.strangers.make_room()
        assert stage.gone == [3]
        stage.known.add(4)
        assert not stage.strangers.make_room()
        assert stage.gone == [3]

    on_stage(3, scenario)


def test_one_whose_turn_begins_anew_is_the_youngest() -> None:
    def scenario(stage: Stage) -> None:
        stage.add(1, 2)
        stage.add(1)
        stage.strangers.discard(3)
        assert stage.strangers.make_room()
        assert stage.gone == [2]
        stage.strangers.discard(1)
        assert not stage.strangers.make_room()

    on_stage(3, scenario)


def test_a_young_one_need_not_give_way_for_everything() -> None:
    def scenario(stage: Stage) -> None:
        stage.add(1)
        assert not stage.strangers.make_room(min_age_s=3600)
        assert stage.strangers.make_room(min_age_s=0)

    on_stage(3, scenario)
