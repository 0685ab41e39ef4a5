"""The time of which parties are charged, and when they have to wait."""

import pytest

from relay.net.refused_work import (
    MANY_ACCOUNTS,
    MAX_REST_S,
    SHARE_OF_ALL,
    SHARE_OF_PARTY,
    RefusedWork,
)

NOW = 1000.0


def test_little_work_lets_nobody_wait() -> None:
    assert RefusedWork().charge("mallory", SHARE_OF_PARTY.burst_s / 2, NOW) <= NOW


def test_a_party_waits_until_its_work_is_paid_and_others_do_not() -> None:
    work = RefusedWork()
    burst_s = SHARE_OF_PARTY.burst_s
    until = work.charge("mallory", burst_s + 1e-3, NOW)
    assert until == pytest.approx(NOW + 1e-3 / SHARE_OF_PARTY.share)
    assert work.charge("mallory", 0.0, NOW) > NOW, "with a new connection as well"
    assert work.charge("carol", 1e-9, until) <= until


def test_many_parties_have_one_share_together() -> None:
    """Each is within its own."""
    work = RefusedWork()
    waits = [work.charge(number, SHARE_OF_ALL.burst_s / 10, NOW) > NOW for number in range(20)]
    assert waits[:9] == [False] * 9
    assert waits[-1]


def test_accounts_without_a_debt_are_forgotten() -> None:
    work = RefusedWork()
    for number in range(2 * MANY_ACCOUNTS):
        work.charge(number, 1e-9, NOW + number)
    assert len(work) <= MANY_ACCOUNTS


def test_no_debt_lasts_for_ever() -> None:
    until = RefusedWork().charge("mallory", 10_000.0, NOW)
    assert until == pytest.approx(NOW + MAX_REST_S)
