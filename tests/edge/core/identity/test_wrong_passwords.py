"""A guesser waits longer and longer; the user with the right password is never locked out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.core.identity import wrong_passwords
from edge.core.identity.wrong_passwords import (
    FORGET_S,
    FREE_PER_ADDRESS,
    FREE_PER_USER,
    KNOWN_BROWSER,
    LOCAL,
    MAX_DELAY_S,
    Attempt,
    Standing,
    WrongPasswords,
    address_of,
)

ALICE = Attempt("alice", "192.0.2.1")
NOW = 1000.0


def guess(wrong: WrongPasswords, attempt: Attempt, count: int, now: float = NOW) -> float:
    """Guess as often as allowed, up to `count` times; return the time of the last guess."""
    for _ in range(count):
        now += wrong.wait_s(attempt, now)
        wrong.begin(attempt, now)
    return now


def test_the_delay_of_a_guesser_doubles_up_to_a_bound() -> None:
    wrong = WrongPasswords()
    waits = []
    now = NOW
    for _ in range(FREE_PER_USER + 8):
        wait_s = wrong.wait_s(ALICE, now)
        waits.append(wait_s)
        now = guess(wrong, ALICE, 1, now)
    assert waits == [0.0] * FREE_PER_USER + [1, 2, 4, 8, 16, 30, 30, 30]
    assert max(waits) == MAX_DELAY_S


def test_attempts_at_the_same_time_count_before_their_passwords_are_checked() -> None:
    wrong = WrongPasswords()
    for _ in range(FREE_PER_USER):
        assert wrong.wait_s(ALICE, NOW) == 0
        wrong.begin(ALICE, NOW)
    assert wrong.wait_s(ALICE, NOW) == 1


def test_who_has_guessed_less_stands_before_others_and_who_is_known_first() -> None:
    wrong = WrongPasswords()
    assert wrong.standing(ALICE, NOW) == Standing(0, is_new=True)
    wrong.begin(ALICE, NOW)
    wrong.begin(Attempt("bob", ALICE.address), NOW)
    assert wrong.standing(ALICE, NOW) == Standing(2, is_new=True)
    assert wrong.standing(ALICE, NOW + FORGET_S) == Standing(0, is_new=True)
    elsewhere = Attempt("alice", "192.0.2.2")
    assert wrong.standing(elsewhere, NOW) == Standing(0, is_new=True)
    wrong.succeeded(ALICE, ALICE.address)
    assert wrong.standing(ALICE, NOW) == Standing(0, is_new=False)
    assert wrong.standing(Attempt("carol", ALICE.address), NOW) == Standing(1, is_new=True)
    wrong.begin(ALICE, NOW)
    assert wrong.standing(ALICE, NOW) == Standing(2, is_new=True), "no longer known: it has failed"


def test_a_browser_that_shows_a_token_is_known_until_it_guesses() -> None:
    wrong, browser = WrongPasswords(), Attempt("alice", f"{KNOWN_BROWSER}0")
    guess(wrong, ALICE, FREE_PER_USER)
    assert wrong.standing(browser, NOW) == Standing(0, is_new=False)
    wrong.begin(browser, NOW)
    assert wrong.standing(browser, NOW) == Standing(1, is_new=True)


def test_a_refused_attempt_does_not_lengthen_the_delay() -> None:
    wrong = WrongPasswords()
    last = guess(wrong, ALICE, FREE_PER_USER + 3)
    waits = [wrong.wait_s(ALICE, last + quarter / 4) for quarter in range(32)]
    assert waits == [8 - quarter / 4 for quarter in range(32)]


def test_guesses_from_everywhere_do_not_delay_the_user_elsewhere() -> None:
    wrong = WrongPasswords()
    for number in range(500):
        guess(wrong, Attempt("alice", f"198.51.100.{number}"), 10)
    assert wrong.wait_s(ALICE, NOW) == 0


def test_a_user_is_guessed_at_slowly_from_many_addresses_that_have_failed() -> None:
    wrong = WrongPasswords()
    addresses = [Attempt("alice", f"198.51.100.{number}") for number in range(30)]
    for attempt in addresses:
        wrong.begin(attempt, NOW)
    assert {wrong.wait_s(attempt, NOW) for attempt in addresses} == {MAX_DELAY_S}


def test_guesses_for_many_names_delay_their_address_and_not_a_user_who_is_known_there() -> None:
    wrong = WrongPasswords()
    wrong.begin(ALICE, NOW)
    wrong.succeeded(ALICE, ALICE.address)
    last = NOW
    for number in range(FREE_PER_ADDRESS + 10):
        last = guess(wrong, Attempt(f"name {number}", ALICE.address), 1, last)
    assert wrong.wait_s(Attempt("bob", ALICE.address), last) == MAX_DELAY_S
    assert wrong.wait_s(Attempt("bob", "192.0.2.2"), last) == 0
    assert wrong.wait_s(ALICE, last) == 0


def test_a_known_browser_that_signs_in_makes_its_address_known_too() -> None:
    wrong = WrongPasswords()
    browser = Attempt("alice", KNOWN_BROWSER + "x")
    wrong.begin(browser, 0.0)
    wrong.succeeded(browser, "a")
    for number in range(FREE_PER_ADDRESS):
        wrong.begin(Attempt(f"user-{number}", "a"), 0.0)
    assert wrong.wait_s(Attempt("bob", "a"), 0.0) > 0
    assert wrong.wait_s(Attempt("alice", "a"), 0.0) == 0


def test_a_guesser_with_an_account_gets_no_more_guesses_by_signing_in() -> None:
    wrong = WrongPasswords()
    mine = Attempt("mallory", ALICE.address)
    now = NOW
    for _ in range(FREE_PER_USER + 6):
        now = guess(wrong, ALICE, 1, now)
        wrong.begin(mine, now)
        wrong.succeeded(mine, mine.address)
    assert wrong.wait_s(ALICE, now) == MAX_DELAY_S


def test_success_after_mistakes_ends_the_delay_of_this_user_here() -> None:
    wrong = WrongPasswords()
    now = guess(wrong, ALICE, FREE_PER_USER + 2)
    now += wrong.wait_s(ALICE, now)
    wrong.begin(ALICE, now)
    wrong.succeeded(ALICE, ALICE.address)
    assert wrong.wait_s(ALICE, now) == 0


def test_an_attempt_that_was_not_checked_does_not_count() -> None:
    wrong = WrongPasswords()
    for _ in range(1000):
        wrong.begin(ALICE, NOW)
        wrong.withdrawn(ALICE)
    assert (wrong.wait_s(ALICE, NOW), len(wrong)) == (0, 0)


def test_right_passwords_do_not_count_against_their_address() -> None:
    """20 wrong ones are free, however many right ones came between."""
    wrong = WrongPasswords()
    for number in range(FREE_PER_ADDRESS):
        assert wrong.wait_s(Attempt("new", ALICE.address), NOW) == 0
        guess(wrong, Attempt(f"wrong {number}", ALICE.address), 1)
        for name in ("right", "too"):
            wrong.begin(right := Attempt(f"{name} {number}", ALICE.address), NOW)
            wrong.succeeded(right, right.address)
    assert wrong.wait_s(Attempt("new", ALICE.address), NOW) == 1


def test_right_passwords_do_not_count_against_their_user() -> None:
    wrong = WrongPasswords()
    for number in range(10):
        wrong.begin(home := Attempt("alice", f"home {number}"), NOW)
        wrong.succeeded(home, home.address)
    guess(wrong, ALICE, FREE_PER_USER - 1)
    assert wrong.wait_s(ALICE, NOW) == 0
    guess(wrong, ALICE, 1)
    assert wrong.wait_s(ALICE, NOW) == 1


def test_wrong_passwords_are_forgotten_in_time() -> None:
    wrong = WrongPasswords()
    last = guess(wrong, ALICE, 30)
    assert wrong.wait_s(ALICE, last) == MAX_DELAY_S
    assert guess(wrong, ALICE, FREE_PER_USER, last + FORGET_S) == last + FORGET_S


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_passwords, "MAX_ENTRIES", 50)
    wrong = WrongPasswords()
    for number in range(1000):
        attempt = Attempt(f"name {number}", f"address {number}")
        wrong.begin(attempt, NOW)
        wrong.succeeded(attempt, attempt.address)
        wrong.begin(attempt, NOW)
    assert len(wrong) == 4 * 50


def test_with_too_many_entries_those_who_did_nothing_for_longest_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wrong_passwords, "MAX_ENTRIES", 2)
    wrong = WrongPasswords()
    busy, quiet, new = (Attempt(name, f"address of {name}") for name in ("busy", "quiet", "new"))
    for attempt in (busy, quiet, busy, new):
        for _ in range(FREE_PER_USER + 5):
            wrong.begin(attempt, NOW)
    assert [wrong.wait_s(each, NOW) for each in (busy, quiet, new)] == [MAX_DELAY_S, 0, MAX_DELAY_S]


def test_with_too_many_entries_users_who_signed_in_last_are_still_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wrong_passwords, "MAX_ENTRIES", 2)
    wrong = WrongPasswords()
    known, gone, new = (Attempt(name, ALICE.address) for name in ("known", "gone", "new"))
    for attempt in (known, gone, known, new):
        wrong.begin(attempt, NOW)
        wrong.succeeded(attempt, attempt.address)
    for _ in range(FREE_PER_ADDRESS):
        wrong.begin(Attempt("guesser", ALICE.address), NOW)
    assert [wrong.wait_s(each, NOW) for each in (known, gone, new)] == [0, 1, 0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["alice", "bob"]),
            st.sampled_from(["a", "b"]),
            st.sampled_from(["wrong", "right", "withdrawn"]),
            st.floats(0, 100),
        ),
        max_size=60,
    )
)
def test_a_wait_is_bounded_and_ends_when_it_says(
    steps: list[tuple[str, str, str, float]],
) -> None:
    wrong = WrongPasswords()
    now = NOW
    for username, address, outcome, elapsed_s in steps:
        now += elapsed_s
        attempt = Attempt(username, address)
        wait_s = wrong.wait_s(attempt, now)
        assert 0 <= wait_s <= MAX_DELAY_S
        assert wrong.wait_s(attempt, now + wait_s + 1e-6) == 0
        if wait_s == 0:
            wrong.begin(attempt, now)
            if outcome == "right":
                wrong.succeeded(attempt, attempt.address)
                assert wrong.wait_s(attempt, now) == 0
            elif outcome == "withdrawn":
                wrong.withdrawn(attempt)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, LOCAL),
        ("", LOCAL),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_network_counts_as_one_address(host: str | None, address: str) -> None:
    assert address_of(host) == address
