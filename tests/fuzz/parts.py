"""The parts of the fuzzing. Each takes a budget and a seed, and returns a line of what was done."""

from collections.abc import Callable

from tests.fuzz.api import fuzz_api
from tests.fuzz.budget import Budget
from tests.fuzz.guided import fuzz_guided
from tests.fuzz.link import fuzz_link
from tests.fuzz.live import fuzz_live
from tests.fuzz.parsers import fuzz_parsers

PARTS: dict[str, Callable[[Budget, int], str]] = {
    "parsers": fuzz_parsers,
    "guided": fuzz_guided,
    "live": fuzz_live,
    "link": fuzz_link,
    "api": fuzz_api,
}
