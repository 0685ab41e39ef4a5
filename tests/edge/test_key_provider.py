"""The keys of an identity provider: a real server that is slow, large, wrong, away, and back."""

import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edge import key_provider
from edge.core.identity.keys import MAX_JWKS_BYTES, InvalidKeys
from edge.key_provider import KeyProvider
from relay.testing.places import free_ports
from tests.support.identity_server import IdentityServer, serving_keys
from tests.support.signing import OTHERS, PRIVATE, jwk, jwks
from tests.support.waiting import wait_for

FIRST = jwks(jwk("RS256", PRIVATE["RS256"], "a"))
SECOND = jwks(jwk("RS256", OTHERS["RS256"], "b"))
NEVER_S = 3600.0


def serving(port: int) -> AbstractContextManager[IdentityServer]:
    return serving_keys(port, FIRST)


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def provider(port: int, interval_s: float = 0.1, max_age_s: float = NEVER_S) -> KeyProvider:
    return KeyProvider(f"http://127.0.0.1:{port}/jwks.json?x=1", interval_s, max_age_s)


def kids(provider: KeyProvider) -> list[str | None]:
    return [each.kid for each in provider.keys or ()]


def test_it_reads_at_once_and_again_when_it_is_asked(port: int) -> None:
    read = provider(port)
    with serving(port) as server, read.running():
        wait_for(lambda: kids(read) == ["a"], "the keys are there")
        server.body = SECOND
        read.ask()
        wait_for(lambda: kids(read) == ["b"], "the new keys are there")
        assert set(server.asked) == {"/jwks.json?x=1"}


def test_it_reads_again_after_a_while(port: int) -> None:
    read = provider(port, max_age_s=0.2)
    with serving(port) as server, read.running():
        wait_for(lambda: kids(read) == ["a"], "the keys are there")
        server.body = SECOND
        wait_for(lambda: kids(read) == ["b"], "the new keys are there")


def test_however_often_it_is_asked_it_reads_once_in_an_interval(port: int) -> None:
    read = provider(port, interval_s=NEVER_S)
    with serving(port) as server, read.running():
        wait_for(lambda: kids(read) == ["a"], "the keys are there")
        wait_for(lambda: not read.ask(), "the reading has ended")
        for _ in range(1000):
            assert read.ask() is False, "nothing better is to be expected soon"
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda server: setattr(server, "status", 500),
        lambda server: setattr(server, "body", b"<html>"),
        lambda server: setattr(server, "body", b" " * (MAX_JWKS_BYTES + 1)),
        lambda server: setattr(server, "body", jwks()),
    ],
    ids=["500", "no JSON", "large", "no keys"],
)
def test_a_wrong_answer_leaves_the_last_keys(
    port: int, spoil: Callable[[IdentityServer], None], caplog: pytest.LogCaptureFixture
) -> None:
    read = provider(port)
    with serving(port) as server, read.running():
        wait_for(lambda: kids(read) == ["a"], "the keys are there")
        spoil(server)
        count = len(server.asked)

        def asked_again() -> bool:
            read.ask()
            return len(server.asked) > count + 1

        wait_for(asked_again, "it tries again and again")
        assert kids(read) == ["a"]
        assert "EDGE_JWT_JWKS" in caplog.text
        assert "x=1" not in caplog.text, "a URL may hold a secret"
        server.status, server.body = 200, SECOND
        wait_for(lambda: kids(read) == ["b"], "it is well again")


def test_a_redirect_is_not_followed(port: int) -> None:
    read = provider(port)
    with serving(port) as server:
        server.status, server.headers = 302, [("Location", f"http://127.0.0.1:{port}/other")]
        with pytest.raises(InvalidKeys, match="302"):
            read.read()
        assert server.asked == ["/jwks.json?x=1"]


def test_a_server_that_is_away_is_asked_until_it_comes(port: int) -> None:
    read = provider(port)
    with read.running():
        wait_for(lambda: read.readings >= 2, "it tries again and again")
        assert read.keys is None
        with serving(port):
            wait_for(lambda: kids(read) == ["a"], "the keys are there")
        read.ask()
        before = read.readings

        def tried_again() -> bool:
            read.ask()
            return read.readings > before + 1

        wait_for(tried_again, "it tries again")
        assert kids(read) == ["a"]


@pytest.mark.parametrize("drip", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["silent", "endless head"])
def test_a_server_that_never_ends_its_answer_is_given_up(
    port: int, drip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_provider, "TIMEOUT_S", 0.2)
    is_over = threading.Event()

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                connection.sendall(drip)
                while not is_over.wait(0.05):
                    connection.sendall(b"x" if drip else b"")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=trickle, args=(listener,))
        thread.start()
        try:
            with pytest.raises(InvalidKeys):
                provider(port).read()
        finally:
            is_over.set()
            thread.join()


def test_a_file_is_read_again_as_well(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(FIRST)
    read = KeyProvider(str(path), 0.1, 0.2)
    read.read()
    assert kids(read) == ["a"]
    with read.running():
        path.write_bytes(SECOND)
        wait_for(lambda: kids(read) == ["b"], "the new keys are there")
        path.unlink()
        before = read.readings
        wait_for(lambda: read.readings > before + 1, "it tries again")
        assert kids(read) == ["b"]


def test_asking_never_waits(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop asks, while the server lets the thread wait."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        read = provider(port, interval_s=0.1)
        with read.running():
            connection, _ = listener.accept()
            with connection:
                assert read.ask() is True
                assert read.keys is None
