"""A compact set of digests behaves like a set."""

import sys
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from relay.shared.digest_set import DigestSet
from relay.wire.demand import topic_digest

NUMBERS = st.one_of(
    st.integers(0, 2**64 - 1),
    # Many in one bucket, and the ends of buckets.
    st.integers(0, 5),
    st.integers(2**56 - 3, 2**56 + 3),
    st.integers(2**64 - 3, 2**64 - 1),
)


@given(st.lists(st.tuples(NUMBERS, st.booleans())), st.integers(1, 10))
def test_it_behaves_like_a_set(steps: list[tuple[int, bool]], page: int) -> None:
    digests, model = DigestSet(), set[int]()
    for number, is_added in steps:
        if is_added:
            assert digests.add(number) is (number not in model)
            model.add(number)
        else:
            assert digests.discard(number) is (number in model)
            model.discard(number)
        assert (number in digests) is (number in model)
        assert len(digests) == len(model)
    assert list(digests) == sorted(model)
    paged: list[int] = []
    while found := digests.page(paged[-1] if paged else None, page):
        assert len(found) <= page
        paged += found
    assert paged == sorted(model)


def test_a_hundred_thousand_digests_take_less_than_two_mebibytes() -> None:
    tracemalloc.start()
    try:
        digests = DigestSet()
        for number in range(100_000):
            digests.add(topic_digest(f"live:{number}"))
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(digests) == 100_000
    assert used < 2 * 1024 * 1024, f"{used / 2**20:.1f} MiB"
    assert sys.getsizeof(set(digests)) > used, "a set would take more for its table alone"
