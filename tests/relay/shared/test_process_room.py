"""A process without room is refused, in place of libzmq's abort."""

import os

import pytest

from tests.support.forked import run_forked
from tests.support.processes import python

NO_DESCRIPTORS = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
held = []
while are_left(1):
    held.append(os.dup(0))
for _ in range({left}):
    os.close(held.pop())
"""
NO_THREADS = """
import resource
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
if os.getuid() == 0:
    os.setuid(65534)  # the limit does not hold for root
"""
NO_MEMORY = """
import resource
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**20, used + 2**20))
"""
REQUIRE = "require_room(10, 3, 2**24)"
OPEN_EMITTER = "Emitter(ingress='tcp://127.0.0.1:1', control='tcp://127.0.0.1:1').close(0)"


def outcome(setup: str, action: str) -> tuple[int, str]:
    """Return the exit code and the output of a process that does `action` after `setup`."""
    code = (
        "import os\nfrom emitters import Emitter\nfrom relay.shared.descriptors import are_left\n"
        "from relay.shared.process_room import require_room\n"
        "from relay.shared.settings import SettingsError\n"
        f"{setup}\ntry:\n    {action}\nexcept SettingsError as error:\n    print(error)\n"
        "else:\n    print('room')\n"
    )
    ended = run_forked(python("-c", code), os.environ, b"", 60)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("action", [REQUIRE, OPEN_EMITTER])
def test_a_process_with_room_is_let_in(action: str) -> None:
    assert outcome("", action) == (0, "room\n")


@pytest.mark.parametrize("action", [REQUIRE, OPEN_EMITTER])
@pytest.mark.parametrize("left", [0, 4, 9])
def test_without_descriptors_it_is_refused(left: int, action: str) -> None:
    code, output = outcome(NO_DESCRIPTORS.format(left=left), action)
    assert code == 0, output
    assert "may not open" in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("action", [REQUIRE, OPEN_EMITTER])
def test_without_threads_it_is_refused(action: str) -> None:
    code, output = outcome(NO_THREADS, action)
    assert code == 0, output
    assert "may not start" in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("action", [REQUIRE, OPEN_EMITTER])
def test_without_memory_it_is_refused(action: str) -> None:
    code, output = outcome(NO_MEMORY, action)
    assert code == 0, output
    assert "may not reserve" in output
    assert len(output.splitlines()) == 1
