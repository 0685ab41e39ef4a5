"""Signing in with a password at a running edge, also while others guess."""

import email.message
import http.cookiejar
import io
import json
import socket
import urllib.error
import urllib.parse
import urllib.request
import urllib.response
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge.core.identity.wrong_passwords import FREE_PER_USER
from edge.http.users import UsersFile
from tests.support.cluster import Cluster, Edge
from tests.support.processes import run_cli
from tests.support.waiting import wait_for

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    users = UsersFile(Path(shared_cluster.env["EDGE_DATA_DIR"]) / "users.json")
    for name in ("alice", "carol"):
        users.add(name, PASSWORD)
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    """One for all tests. It remembers wrong passwords, so tests that guess have names of their own,
    or addresses."""
    return cluster.start_edge()


@pytest.fixture
def fresh_edge(cluster: Cluster) -> Edge:
    """For tests that read its log, in which a line comes once in 10 s, or that guess from the
    address of the other tests."""
    return cluster.start_edge()


@pytest.fixture(scope="module")
def other_edge(cluster: Cluster) -> Edge:
    """With another secret."""
    return cluster.start_edge(EDGE_JWT_SECRET="x" * 32)


def form(username: str, password: str) -> bytes:
    return urllib.parse.urlencode(
        {"grant_type": "password", "username": username, "password": password}
    ).encode()


def sign_in(
    edge: Edge, username: str, password: str, address: str = "192.0.2.1"
) -> tuple[int, str, str]:
    """Sign in behind a proxy that tells the client's address: status, Retry-After, detail."""
    request = urllib.request.Request(
        f"{edge.url}/auth/token", form(username, password), {"X-Forwarded-For": address}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, "", ""
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Retry-After", ""), json.loads(error.read())["detail"]


def outcomes(edge: Edge) -> Counter[str]:
    return Counter(edge.metrics().get("edge_sign_ins", {}))


def guess_until_slowed(edge: Edge, username: str, address: str = "192.0.2.1") -> int:
    """Guess until a guess is refused unseen; return the number of those before it."""
    for guesses in range(FREE_PER_USER + 5):
        status, retry_after, detail = sign_in(edge, username, "my secret guess", address)
        if status == 429:
            assert detail == f"Too many wrong passwords. Try again in {retry_after} s."
            return guesses
        assert status == 401
    raise AssertionError("guesses are not slowed")


def test_wrong_passwords_are_slowed_and_do_not_lock_the_user_out(fresh_edge: Edge) -> None:
    edge = fresh_edge
    guesses = guess_until_slowed(edge, "carol")
    assert guesses >= FREE_PER_USER
    assert sign_in(edge, "carol", PASSWORD, "192.0.2.99")[0] == 200
    wait_for(lambda: sign_in(edge, "carol", PASSWORD)[0] == 200, "the delay ends")
    counted = outcomes(edge)
    assert (counted["wrong"], counted["succeeded"]) == (guesses, 2)
    assert counted["delayed"] >= 1
    output = edge.process.output()
    assert "sign-in as 'carol' from 192.0.2.1 delayed after wrong passwords" in output
    assert "my secret guess" not in output


@pytest.mark.parametrize("cookie", ["from signing in", "expired", "of another user", "forged"])
def test_guesses_from_the_same_address_do_not_lock_a_known_browser_out(
    cluster: Cluster, fresh_edge: Edge, cookie: str
) -> None:
    """As behind a proxy that does not tell the addresses of clients."""
    browser, edge = Browser(), fresh_edge
    match cookie:
        case "from signing in":
            browser.post(edge, "/auth/token", form("alice", PASSWORD))
        case "expired":
            browser.keep("access_token_cookie", cluster.token("alice", ttl_s=-(10**6)))
        case "of another user":
            browser.keep("access_token_cookie", cluster.token("bob"))
        case "forged":
            browser.keep("access_token_cookie", cluster.token("alice")[:-2])

    guess_until_slowed(edge, "alice", "127.0.0.1")
    if cookie in ("from signing in", "expired"):
        browser.post(edge, "/auth/token", form("alice", PASSWORD))
        assert browser.user(edge) == "alice"
        return

    def is_slowed() -> bool:
        with pytest.raises(urllib.error.HTTPError) as refused:
            browser.post(edge, "/auth/token", form("alice", "guess"))
        return refused.value.code == 429

    wait_for(is_slowed, "this browser counts with its address")


def test_an_unknown_user_is_slowed_alike_and_the_name_is_escaped(fresh_edge: Edge) -> None:
    name = "nobody\n00:00:00 INFO forged \x1b[31m" + "x" * 1000
    assert guess_until_slowed(fresh_edge, name) >= FREE_PER_USER
    lines = fresh_edge.process.output().splitlines()
    assert not [line for line in lines if line.startswith("00:00:00") or "\x1b" in line]
    assert [line for line in lines if r"'nobody\n00:00:00 INFO forged \x1b[31m" in line]
    assert max(map(len, lines)) < 250


def test_abandoned_guesses_keep_nobody_from_signing_in(edge: Edge) -> None:
    """Also when each comes from another address, so that no delay holds them back."""
    before = outcomes(edge)
    with ExitStack() as stack:
        for number in range(120):
            guess = stack.enter_context(socket.create_connection(("127.0.0.1", edge.port), 20))
            body = form("alice", f"guess {number}")
            guess.sendall(
                b"POST /auth/token HTTP/1.1\r\nHost: edge\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n"
                b"X-Forwarded-For: 198.51.100.%d\r\nContent-Length: %d\r\n\r\n%b"
                % (number, len(body), body)
            )
    # The guesses that waited are gone with their clients, so this one is not behind them.
    wait_for(lambda: sign_in(edge, "alice", PASSWORD)[0] == 200, "the user signs in")
    assert (outcomes(edge) - before)["abandoned"] > 0
    wait_for(lambda: (outcomes(edge) - before).total() > 120, "every guess is counted")
    assert "Traceback" not in edge.process.output()


def test_one_address_does_not_fill_the_queue_with_old_tokens_of_a_user(
    cluster: Cluster, edge: Edge
) -> None:
    """Each shows a browser that no guess of others slows down."""
    tokens = [cluster.token("alice", ttl_s=-age) for age in range(1, 61)]
    body = form("alice", PASSWORD)
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", edge.port), 20))
            for _ in tokens
        ]
        for connection, token in zip(connections, tokens, strict=True):
            connection.sendall(
                b"POST /auth/token HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer %b\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n"
                b"X-Forwarded-For: 198.51.100.200\r\nContent-Length: %d\r\n\r\n%b"
                % (token.encode(), len(body), body)
            )
        statuses = {connection.recv(4096)[9:12] for connection in connections}
    assert statuses == {b"200", b"429"}, "503 would mean that others find no place either"


class Browser:
    """The cookies of one browser, which do not know of ports."""

    def __init__(self) -> None:
        self.jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def post(self, edge: Edge, path: str, body: bytes = b"") -> None:
        self._opener.open(f"{edge.url}{path}", body, timeout=20).close()

    def user(self, edge: Edge) -> str | None:
        """The user who is signed in at `edge`."""
        try:
            with self._opener.open(f"{edge.url}/auth/me", timeout=20) as response:
                return str(json.load(response)["username"])
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            return None

    def keep(self, name: str, value: str) -> None:
        """Keep a cookie that a page has set."""
        page = urllib.request.Request("http://127.0.0.1/")
        answer = email.message.Message()
        answer["Set-Cookie"] = f"{name}={value}; Path=/"
        response = urllib.response.addinfourl(io.BytesIO(), answer, "http://127.0.0.1/")
        self.jar.extract_cookies(response, page)  # type: ignore[arg-type]

    @property
    def cookies(self) -> set[str]:
        return {cookie.name for cookie in self.jar}


def test_two_edges_on_one_host_do_not_sign_each_other_out(edge: Edge, other_edge: Edge) -> None:
    browser, other = Browser(), other_edge
    for each in (edge, other):
        browser.post(each, "/auth/token", form("alice", PASSWORD))
    assert browser.cookies == {f"access_token_cookie_{each.port}" for each in (edge, other)}
    browser.post(other, "/auth/logout")
    assert (browser.user(edge), browser.user(other)) == ("alice", None)


def test_the_cookie_of_another_front_end_works_unchanged(
    cluster: Cluster, edge: Edge, other_edge: Edge
) -> None:
    """It has the name `access_token_cookie`, and that front end may sign out here."""
    browser = Browser()
    browser.keep("access_token_cookie", cluster.token("alice"))
    assert browser.user(edge) == "alice"
    browser.post(other_edge, "/auth/logout")
    assert browser.user(edge) == "alice", "the cookie of an edge with another secret stays"
    browser.post(edge, "/auth/logout")
    assert browser.cookies == set()


def test_edges_behind_one_address_share_a_cookie_if_told_its_name(cluster: Cluster) -> None:
    edges = [cluster.start_edge(EDGE_COOKIE_NAME="session") for _ in range(2)]
    browser = Browser()
    browser.post(edges[0], "/auth/token", form("alice", PASSWORD))
    assert browser.cookies == {"session"}
    assert [browser.user(each) for each in edges] == ["alice", "alice"]
    browser.post(edges[1], "/auth/logout")
    assert [browser.user(each) for each in edges] == [None, None]


def test_a_long_name_costs_no_more_than_another(edge: Edge) -> None:
    """The time to compose such a name grows with the square of its length."""
    name = ("\u0315" * 7000 + "\u0316" * 7000).encode()
    parts = ((b"username", name), (b"password", b"x"))
    part = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    body = b"".join(part % each for each in parts) + b"--b--\r\n"
    headers = {
        "Content-Type": "multipart/form-data; boundary=b",
        "X-Forwarded-For": "192.0.2.2",
    }
    for _ in range(30):
        request = urllib.request.Request(f"{edge.url}/auth/token", body, headers)
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=5)


def test_a_name_signs_in_in_any_spelling(cluster: Cluster, edge: Edge) -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    added = run_cli("edge", "user", "add", decomposed, "--password-stdin", env=cluster.env,
                    stdin=f"{PASSWORD}\n")  # fmt: skip
    assert added.returncode == 0
    for name in (composed, decomposed):
        browser = Browser()
        browser.post(edge, "/auth/token", form(name, PASSWORD))
        assert browser.user(edge) == composed
