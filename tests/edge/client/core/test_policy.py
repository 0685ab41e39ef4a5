"""The client's delays, and its reaction to every close code of the golden vectors."""

import pytest

from edge.client.core.policy import (
    ACTION_FOR_ADVICE,
    CloseAction,
    close_action,
    renew_delay_s,
    retry_delay_s,
    told_delay_s,
)
from tests.relay.wire.vectors import vectors


def half() -> float:
    return 0.5


def most() -> float:
    return 1.0


@pytest.mark.parametrize("vector", vectors("close_codes"), ids=lambda vector: str(vector["code"]))
def test_each_close_code_of_the_vectors(vector: dict[str, str]) -> None:
    assert close_action(int(vector["code"])) is ACTION_FOR_ADVICE[vector["client_should"]]


@pytest.mark.parametrize("code", [1000, 1006, 1011, 4999])
def test_an_unknown_code_is_a_lost_connection(code: int) -> None:
    assert close_action(code) is CloseAction.RECONNECT


def test_the_delay_is_random_below_a_bound_that_doubles() -> None:
    longest = [retry_delay_s(CloseAction.RECONNECT, n, 3, most) for n in (0, 1, 2, 3, 4, 5000)]
    assert longest == [0.25, 0.5, 1, 2, 3, 3]
    assert retry_delay_s(CloseAction.RECONNECT, 3, 3, half) == 1


def test_clients_that_were_closed_together_return_within_a_second() -> None:
    assert retry_delay_s(CloseAction.SPREAD, 0, 3, half) == 0.5
    assert retry_delay_s(CloseAction.SPREAD, 4, 3, half) == 1.5
    assert retry_delay_s(CloseAction.SPREAD, 0, 0.1, most) == 0.1


def test_later_is_at_least_the_longest_delay() -> None:
    assert retry_delay_s(CloseAction.LATER, 0, 3, lambda: 0.0) == 3
    assert retry_delay_s(CloseAction.LATER, 9, 3, half) == 4.5


def test_a_told_delay_is_kept_or_passed() -> None:
    assert told_delay_s("overloaded, retry in 3 s", lambda: 0.0) == 3
    assert told_delay_s("overloaded, retry in 12 s", half) == 18
    assert told_delay_s("edge has lost the relay or is overloaded", half) is None


def test_a_token_is_renewed_ahead_of_its_end_and_never_in_a_tight_loop() -> None:
    assert renew_delay_s(3600) == 3570
    assert renew_delay_s(60) == 48
    assert renew_delay_s(0) == renew_delay_s(-1000) == 5
