"""Where a socket of the relay listens: hosts, interfaces, paths, names in the kernel."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from relay.net.listening import AddressInUse, change_mode, listening, prepare
from relay.shared.file_lock import is_locked
from relay.testing.places import free_ports


def listen(endpoint: str, *, may_be_open: bool = False) -> AbstractContextManager[socket.socket]:
    return listening(endpoint, "RELAY_INGRESS", 5, may_be_open=may_be_open)


def is_reached(bound: socket.socket, address: str | tuple[str, int], family: int) -> bool:
    """Whether a connection to `address` arrives at `bound`."""
    with socket.socket(family) as peer:
        peer.settimeout(10)
        if peer.connect_ex(address):
            return False
        bound.settimeout(10)
        accepted, _ = bound.accept()
        with accepted:
            prepare(accepted)
            assert not accepted.getblocking()
            if family != socket.AF_UNIX:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        return True


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "lo"])
def test_a_host_a_name_and_an_interface_are_reached_by_ipv4(host: str) -> None:
    (port,) = free_ports(1)
    with listen(f"tcp://{host}:{port}") as bound:
        assert not bound.getblocking()
        assert is_reached(bound, ("127.0.0.1", port), socket.AF_INET)


@contextmanager
def port_of_both_versions() -> Iterator[int]:
    """Yield a port that no connection by IPv6 gets from the kernel either."""
    with ExitStack() as stack:
        for port in free_ports(20):
            holder = stack.enter_context(socket.socket(socket.AF_INET6))
            with suppress(OSError):
                holder.bind(("::1", port))
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                break
        yield port


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_every_interface_is_reached_by_both_versions() -> None:
    with port_of_both_versions() as port, listen(f"tcp://*:{port}", may_be_open=True) as bound:
        assert is_reached(bound, ("127.0.0.1", port), socket.AF_INET)
        assert is_reached(bound, ("::1", port), socket.AF_INET6)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_reached_by_ipv6_alone() -> None:
    (port,) = free_ports(1)
    with listen(f"tcp://[::1]:{port}") as bound:
        assert is_reached(bound, ("::1", port), socket.AF_INET6)
        assert not is_reached(bound, ("127.0.0.1", port), socket.AF_INET)


def test_a_port_is_free_again_at_once_and_in_use_in_between() -> None:
    (port,) = free_ports(1)
    endpoint = f"tcp://127.0.0.1:{port}"
    for _ in range(2):
        with listen(endpoint) as bound:
            assert is_reached(bound, ("127.0.0.1", port), socket.AF_INET)
            with pytest.raises(AddressInUse) as refused, listen(endpoint):
                pass
            assert str(refused.value) == f"RELAY_INGRESS: {endpoint} is already in use"


@pytest.mark.parametrize(
    "endpoint", ["tcp://192.0.2.1:5555", "tcp://no-such-host.invalid:5555", "ipc:///no/such/path"]
)
def test_an_address_that_is_not_here_is_refused_with_the_setting(endpoint: str) -> None:
    with pytest.raises(AddressInUse) as refused, listen(endpoint):
        pass
    assert str(refused.value).startswith(f"RELAY_INGRESS: cannot listen on {endpoint}: ")


def test_a_path_is_reached_and_removed_with_its_lock_held(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listen(f"ipc://{path}") as bound:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert is_reached(bound, str(path), socket.AF_UNIX)
        assert is_locked(path)
    assert not path.exists()
    assert not is_locked(path)


def test_a_path_in_use_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/socket"
    with listen(endpoint) as bound:
        with pytest.raises(AddressInUse, match=f"RELAY_INGRESS: {endpoint} is already in use"):
            listen(endpoint).__enter__()
        assert is_reached(bound, f"{tmp_path}/socket", socket.AF_UNIX)


def test_the_path_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    with listen(f"ipc://{path}") as bound:
        assert is_reached(bound, str(path), socket.AF_UNIX)


def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(AddressInUse, match="already in use"), listen(f"ipc://{path}"):
        pass
    assert path.read_text() == "mine"


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="Linux alone has names in the kernel")
def test_a_name_in_the_kernel_is_no_file() -> None:
    name = f"event-relay-test-{os.getpid()}"
    with listen(f"ipc://@{name}") as bound:
        assert is_reached(bound, f"\0{name}", socket.AF_UNIX)
        with pytest.raises(AddressInUse, match="already in use"), listen(f"ipc://@{name}"):
            pass
    assert not Path(f"@{name}").exists()


def test_descriptors_are_closed_when_it_cannot_listen(tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/dev/fd"))

    (tmp_path / "file").write_text("")
    before = count()
    for endpoint in (f"ipc://{tmp_path}/file", "tcp://192.0.2.1:1", "ipc:///no/such/path"):
        with pytest.raises(AddressInUse), listen(endpoint):
            pass
    assert count() == before


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]"])
def test_beyond_loopback_it_has_to_be_allowed(host: str) -> None:
    (port,) = free_ports(1)
    with pytest.raises(AddressInUse, match="would take events from everybody"):
        listen(f"tcp://{host}:{port}").__enter__()
    with listen(f"tcp://127.0.0.2:{port}"), listen(f"tcp://127.0.0.1:{port}"):
        pass


def test_who_may_connect_to_a_path_may_change(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(f"ipc://{path}", "RELAY_INGRESS", 1) as bound:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        change_mode(bound, 0o666)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
    for endpoint in ("ipc://@of-a-test-of-modes", f"tcp://127.0.0.1:{free_ports(1)[0]}"):
        with listening(endpoint, "RELAY_INGRESS", 1) as bound:
            change_mode(bound, 0o666)
