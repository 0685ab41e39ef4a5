"""`make run` says where to look."""

import pytest

from relay.demo import welcome
from tests.support.cluster import Cluster
from tests.support.processes import python
from tests.support.waiting import wait_for


def test_the_welcome_names_the_page_and_the_users(cluster: Cluster) -> None:
    cluster.start_relay()
    edge = cluster.start_edge()
    process = cluster.start_forked(
        "welcome", python("-m", "relay.demo.welcome"), EDGE_PORT=str(edge.port)
    )
    wait_for(lambda: process.returncode is not None, "the welcome ends")
    assert process.returncode == 0
    assert process.output() == (
        f"Open {edge.url} and sign in as alice, with the password that the first start has shown,"
        " or as another user; `event-edge user passwd alice` sets a new one"
        " (with EDGE_DATA_DIR=.run/edge); Ctrl-C stops everything.\n"
    )


def test_the_welcome_gives_up_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        welcome.main(["--port", "1", "--timeout", "0.1"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
