"""Forty guessers at once: an honest user signs in before all of their guesses are checked."""

import contextlib
import itertools
import threading
from pathlib import Path

import pytest

from edge.http.hashing import MAX_WAITING
from edge.http.users import UsersFile
from tests.e2e.test_sign_in import PASSWORD, outcomes, sign_in
from tests.support.cluster import Cluster
from tests.support.waiting import wait_for

pytestmark = pytest.mark.timeout(180)

GUESSERS = 40


def test_many_guessers_do_not_delay_an_honest_user(cluster: Cluster) -> None:
    """More of them than the queue has places, each at an address of its own."""
    UsersFile(Path(cluster.env["EDGE_DATA_DIR"]) / "users.json").add("alice", PASSWORD)
    cluster.start_relay()
    edge, has_ended = cluster.start_edge(), threading.Event()

    def guess(number: int) -> None:
        address, status = f"198.51.100.{number}", 0
        for attempt in itertools.count():
            with contextlib.suppress(OSError):  # of those whose turn does not come in time
                status = sign_in(edge, f"nobody {number} {attempt}", "guess", address)[0]
            if has_ended.wait(0 if status == 401 else 0.5):
                return

    guessers = [threading.Thread(target=guess, args=(number,)) for number in range(GUESSERS)]
    for each in guessers:
        each.start()
    try:
        # A guesser is a stranger like any other until its first guess was checked.
        wait_for(lambda: outcomes(edge)["wrong"] > GUESSERS, "each has guessed", 90)
        assert outcomes(edge)["overloaded"] > 0
        checked = outcomes(edge)["wrong"]
        assert sign_in(edge, "alice", PASSWORD, "192.0.2.77")[0] == 200
        checked_before_alice = outcomes(edge)["wrong"] - checked
    finally:
        has_ended.set()
        for each in guessers:
            each.join()
    # Those that ran already, and those that ended while the counters were read.
    assert checked_before_alice < MAX_WAITING / 2
