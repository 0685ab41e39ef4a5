"""The client needs neither the server nor a POSIX system, and refuses wrong arguments by name."""

import subprocess
import sys
from typing import Any

import pytest

from edge.client import connect

FOREIGN = (
    *("fastapi", "starlette", "uvicorn", "uvloop", "zmq", "msgpack", "pydantic", "jwt", "psutil"),
    *("fcntl", "resource", "pwd", "grp", "termios"),
)


def test_the_client_imports_no_server_and_nothing_that_windows_lacks() -> None:
    """On Windows `fcntl` and its like are missing: here their import is made to fail."""
    check = (
        f"import sys; sys.modules.update(dict.fromkeys({FOREIGN!r}))\n"
        "from edge.client import connect"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "https://x/ws"}, "url: must begin with ws:// or wss://"),
        ({"max_queued": 0}, "max_queued"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        connect(**{"url": "ws://x/ws", "token": "t"} | arguments)


@pytest.mark.parametrize("last", [0, 1001])
def test_a_wrong_last_is_named(last: int) -> None:
    with pytest.raises(ValueError, match="last: must be from 1 to 1000"):
        connect("ws://x/ws", token="t").subscribe("event:*", last=last)
