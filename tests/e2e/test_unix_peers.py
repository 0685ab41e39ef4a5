"""Peers of a Unix socket are their users, by the kernel: with real users, which needs root."""

import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.processes import ROOT, python, run_cli

MANAGER, OTHER, STRANGER = 54321, 54322, 54323
PEERS = f"""
[peers.manager-1]
role = "emitter"
uid = {MANAGER}
publish = ["event:a"]
sources = ["*"]

[peers.watchers]
role = "tool"
gid = {OTHER}
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be several users")


@pytest.fixture
def cluster(cluster: Cluster) -> Iterator[Cluster]:
    """The sockets are in a directory that everybody may enter, as `/run/event-relay` is.

    It is not the one of pytest, which lets nobody else in.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        config = directory / "relay.toml"
        config.write_text(PEERS)
        config.chmod(0o644)
        cluster.env["EVENT_RELAY_CONFIG"] = str(config)
        for socket in ("INGRESS", "EGRESS", "CONTROL"):
            endpoint = f"ipc://{directory}/{socket.lower()}"
            cluster.env |= {f"RELAY_{socket}": endpoint, f"EMITTER_RELAY_{socket}": endpoint}
        yield cluster


AS_USER = """
import importlib, os, pkgutil, sys
# Everything is imported first: the user may not read the interpreter's own files.
import encodings.idna, encodings.utf_8_sig, zmq.utils.monitor
import emitters, relay.shared, relay.wire
for package in (emitters, relay.shared, relay.wire):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
from emitters.__main__ import main
uid = int(sys.argv.pop(1))
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
main()
"""


def run_as(cluster: Cluster, uid: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `event-emit` as another user."""
    return subprocess.run(
        python("-c", AS_USER, str(uid), *arguments),
        cwd=ROOT,
        env=cluster.env,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_users_have_the_rights_that_are_listed(cluster: Cluster) -> None:
    relay = cluster.start_relay()
    command = python("-c", AS_USER, str(OTHER), "tail", "event:", "--count", "1")
    tail = cluster.start("tail", command)
    tail.wait_for_output("watching 'event:'")
    sent = run_as(cluster, MANAGER, "event:a", "{}")
    assert sent.returncode == 0, sent.stderr
    tail.wait_ended()
    assert '"topic":"event:a"' in tail.output()
    forbidden = run_as(cluster, MANAGER, "event:ab", "{}")
    assert forbidden.returncode == 2
    assert "its topic is not allowed" in forbidden.stderr
    assert "Traceback" not in forbidden.stderr
    stranger = run_as(cluster, STRANGER, "--timeout", "2", "event:a", "{}")
    assert stranger.returncode == 1
    relay.wait_for_output(f"user {STRANGER} may not connect to this socket")
    counters = run_cli("relay", "stats", env=cluster.env)
    assert json.loads(counters.stdout)["relayed"]["event"] == 1


def test_sockets_are_private_where_nobody_else_is_listed(cluster: Cluster) -> None:
    del cluster.env["EVENT_RELAY_CONFIG"]
    cluster.start_relay()
    path = Path(cluster.env["RELAY_INGRESS"].removeprefix("ipc://"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run_as(cluster, MANAGER, "--timeout", "2", "event:a", "{}").returncode == 1


def test_nobody_is_spoken_to_in_a_directory_of_strangers(cluster: Cluster) -> None:
    path = Path(cluster.env["RELAY_INGRESS"].removeprefix("ipc://")).parent
    del cluster.env["EVENT_RELAY_CONFIG"]
    path.chmod(0o777)
    sent = run_cli("emitters", "event:a", "{}", env=cluster.env)
    assert sent.returncode == 2
    [line] = sent.stderr.splitlines()
    assert "EMITTER_RELAY_INGRESS: another user could pose as the relay: others may write" in line
    path.chmod(0o755)
    os.chown(path, STRANGER, STRANGER)
    assert run_cli("emitters", "event:a", "{}", env=cluster.env).returncode == 2
    cluster.start_relay()
    trusting = cluster.env | {"EMITTER_RELAY_UID": str(STRANGER)}
    assert run_cli("emitters", "event:a", "{}", env=trusting).returncode == 0
