"""Users of a cluster who cost little to sign in, for tests of other things.

A stored hash says what it costs. With those that `event-edge user add` makes, a sign-in takes 0.2 s
of CPU; `test_sign_in.py`, `test_protocol.py` and `test_guessers.py` in `tests/e2e` have such.
"""

from pathlib import Path

from argon2 import PasswordHasher

from edge.http.users import UsersFile
from tests.support.cluster import Cluster

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def cheap_users(cluster: Cluster) -> UsersFile:
    """Return the users file of the edges of `cluster`, to add users to it."""
    return UsersFile(Path(cluster.env["EDGE_DATA_DIR"]) / "users.json", CHEAP)
