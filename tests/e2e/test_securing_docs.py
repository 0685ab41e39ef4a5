"""The commands of docs/securing.md, one after another, as somebody would type them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from emitters import Emitter, NotPermitted
from tests.support.cluster import Cluster
from tests.support.processes import ROOT
from tests.support.snippets import snippets

PAGE = ROOT / "docs" / "securing.md"
PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"
KEY = re.compile(r"[0-9a-f]{64}")


def sh(cluster: Cluster, script: str) -> list[str]:
    """Run the commands in the cluster's directory; return the lines that they print."""
    ran = subprocess.run(
        ("/bin/sh", "-e", "-c", script),
        cwd=cluster.directory,
        env=cluster.env | {"PATH": PATH},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_from_keys_to_a_cluster_with_rights(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, client_side = snippets(PAGE, "sh")
    [peers] = snippets(PAGE, "toml")
    names = re.findall(r"keys new (\S+)", keys)
    public = dict(zip(names, sh(cluster, keys), strict=True))
    shown = KEY.findall(peers)
    for text, name in zip(shown, ("edge-1", "manager-1"), strict=True):
        peers = peers.replace(text, public[name])
    cluster.configure(peers)
    cluster.env["RELAY_CURVE_KEY_FILE"] = str(cluster.directory / "relay.key")
    cluster.env["EDGE_CURVE_KEY_FILE"] = str(cluster.directory / "edge-1.key")
    cluster.env["EDGE_RELAY_CURVE_KEY"] = public["relay"]
    [relay_key] = KEY.findall(client_side)
    for name, value in re.findall(r"export (\w+)=(\S+)", client_side):
        monkeypatch.setenv(name, value.replace(relay_key, public["relay"]))
    monkeypatch.chdir(cluster.directory)
    cluster.start_relay()
    edge = cluster.start_edge()
    client = cluster.connect(edge, "alice")
    client.subscribe("event:*")
    emitter = Emitter(name="manager-1", ingress=cluster.ingress, control=cluster.control)
    assert emitter.wait_connected(20)
    emitter.emit("event:after_backup", {"server_name": "survival"})
    assert client.receive_on("event:after_backup")["source"] == "manager-1"
    with pytest.raises(NotPermitted):
        emitter.emit("order:1", {})
    assert emitter.close(10) == 0
