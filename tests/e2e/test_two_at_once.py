"""Two programs for one address: exactly one serves, and the other says so and ends."""

from collections.abc import Callable, Mapping

import pytest

from tests.support.cluster import Cluster, free_ports
from tests.support.processes import ManagedProcess, python
from tests.support.waiting import wait_for

PAIRS = 5
Env = Mapping[str, str]


def edge_port(_: Cluster) -> Env:
    return {"EDGE_PORT": str(free_ports(1)[0])}


def edge_workers(_: Cluster) -> Env:
    return {"EDGE_PORT": str(free_ports(1)[0]), "EDGE_WORKERS": "2"}


def edge_path(cluster: Cluster) -> Env:
    return {"EDGE_HOST": f"unix:{cluster.directory}/edge.sock"}


def relay_ports(_: Cluster) -> Env:
    ports = free_ports(3)
    names = ("RELAY_INGRESS", "RELAY_EGRESS", "RELAY_CONTROL")
    return {name: f"tcp://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}


def relay_paths(cluster: Cluster) -> Env:
    names = ("RELAY_INGRESS", "RELAY_EGRESS", "RELAY_CONTROL")
    return {name: f"ipc://{cluster.directory}/{name}" for name in names}


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("program", "sign", "address"),
    [
        ("edge", "following the relay", edge_port),
        ("edge", "following the relay", edge_workers),
        ("edge", "following the relay", edge_path),
        ("relay", "relaying", relay_ports),
        ("relay", "relaying", relay_paths),
    ],
)
def test_of_two_programs_that_start_together_one_serves(
    cluster: Cluster, program: str, sign: str, address: Callable[[Cluster], Env]
) -> None:
    if program == "edge":
        cluster.start_relay()
    for number in range(PAIRS):
        env = address(cluster)
        pair = [
            cluster.start_forked(name, python("-m", program), **env, **own(cluster, name))
            for name in (f"{program}-a", f"{program}-b")
        ]
        loser, winner = wait_one_ended(*pair)
        assert loser.returncode == 2, loser.output()
        [line] = loser.output().splitlines()
        assert line.startswith(f"event-{program}: {program.upper()}_"), f"pair {number}"
        winner.wait_for_output(sign)
        assert winner.terminate() == 0, winner.output()


def own(cluster: Cluster, name: str) -> Env:
    """Return directories of its own: the programs compete for the address alone."""
    return {"RELAY_DATA_DIR": str(cluster.directory / name)}


def test_of_two_relays_on_one_journal_one_relays(cluster: Cluster) -> None:
    for _ in range(PAIRS):
        command = python("-m", "relay")
        pair = [cluster.start_forked("relay", command, **relay_ports(cluster)) for _ in "ab"]
        loser, winner = wait_one_ended(*pair)
        assert loser.returncode == 2, loser.output()
        [line] = loser.output().splitlines()
        assert line.endswith("journal.db is in use by another relay")
        winner.wait_for_output("relaying")
        assert winner.terminate() == 0, winner.output()


def test_the_paths_of_a_killed_relay_are_used_again(cluster: Cluster) -> None:
    paths = relay_paths(cluster)
    cluster.start_relay(**paths).kill()
    assert all((cluster.directory / name).is_socket() for name in paths)
    relay = cluster.start_relay(**paths)
    assert relay.terminate() == 0


def wait_one_ended(
    one: ManagedProcess, other: ManagedProcess
) -> tuple[ManagedProcess, ManagedProcess]:
    """Return the program that has ended, and the other."""
    wait_for(lambda: {one.returncode, other.returncode} != {None}, "one ends")
    return (one, other) if one.returncode is not None else (other, one)
