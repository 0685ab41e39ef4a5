"""Any valid credential lets in, on every road into a running edge, and through a real nginx."""

import json
import re
import tempfile
from contextlib import ExitStack
from itertools import count, product
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.cluster import Cluster, Edge
from tests.support.nginx import start_nginx
from tests.support.processes import ROOT
from tests.support.raw_http import RawSocket, RawSockets, request, subscribe
from tests.support.waiting import wait_for
from tests.support.websocket_frames import CLOSE, TEXT, client_frame

NAME = "access_token_cookie"
HEADERS = (
    None,
    "",
    "Basic dTpw",
    "Bearer",
    "Bearer nonsense",
    "Bearer {header}",
    "Basic dTpw, Bearer {header}",
)
QUERIES = ("", "?token=", "?token=nonsense", "?token={query}", "?token=nonsense&token={query}")
SUBPROTOCOLS = (
    None,
    "event-relay, event-relay.bearer.nonsense",
    "event-relay, event-relay.bearer.{subprotocol}",
)
COOKIES = (
    None,
    f"{NAME}=nonsense",
    f"{NAME}={{cookie}}; {NAME}=nonsense",
    f"{NAME}=nonsense; {NAME}={{cookie}}",
)
ROADS = ("front door", "kept alive", "another server", "api")


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    """One for all tests: none of them stops a process."""
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster) -> Edge:
    return cluster.start_edge()


@pytest.fixture(scope="module")
def plain_edge(cluster: Cluster) -> Edge:
    return cluster.start_plain_edge()


@pytest.fixture(scope="module")
def tokens(cluster: Cluster) -> dict[str, str]:
    """A token for each place: its user is named after the place."""
    return {name: cluster.token(name) for name in ("header", "query", "subprotocol", "cookie")}


def user_of(client: RawSocket, places: list[str], tokens: dict[str, str]) -> str:
    """Return the user of an open WebSocket: the only one whose token renews it."""
    # A first message could still change the user that a cookie has named.
    client.send(subscribe("event:x"))
    for place in places:
        request = {"action": "authenticate", "token": tokens[place], "id": place}
        client.send(client_frame(TEXT, json.dumps(request).encode()))
        first, payload = client.frames_until(TEXT, b"Authenticated")[-1]
        assert first == TEXT
        return str(json.loads(payload)["username"])
    raise AssertionError("no place")


def ask(client: RawSocket, road: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Open a WebSocket or call the API; return the status and the body."""
    if road == "api":
        lines = [f"GET {path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
        client.send("\r\n".join(lines).encode() + b"\r\n\r\n")
    else:
        if road == "kept alive":
            client.send(b"GET /healthz HTTP/1.1\r\nHost: edge\r\n\r\n")
            assert client.response()[0] == 200
        client.send(request(path, **{name.replace("-", "_"): headers[name] for name in headers}))
    status, answered, body = client.response()
    offered = headers.get("Sec-WebSocket-Protocol")
    if status == 101:
        assert answered.get("sec-websocket-protocol") == (offered and "event-relay")
    return status, body


@pytest.mark.parametrize("road", ROADS)
def test_any_valid_credential_lets_in_and_the_first_names_the_user(
    edge: Edge, plain_edge: Edge, tokens: dict[str, str], stack: ExitStack, road: str
) -> None:
    chosen = plain_edge if road == "another server" else edge
    sockets = RawSockets(chosen, stack)
    host = f"127.0.0.1:{chosen.port}"
    base = "/auth/me" if road == "api" else "/ws"
    for header, query, subprotocol, cookie in product(HEADERS, QUERIES, SUBPROTOCOLS, COOKIES):
        given = {
            "Host": host,
            "Origin": f"http://{host}",
            "Authorization": header,
            "Sec-WebSocket-Protocol": subprotocol,
            "Cookie": cookie,
        }
        headers = {
            name: value.format_map(tokens) for name, value in given.items() if value is not None
        }
        case = (header, query, subprotocol, cookie)
        text = repr(case)
        places = [place for place in tokens if f"{{{place}}}" in text]
        with ExitStack() as one:
            client = RawSockets(chosen, one).connect()
            status, body = ask(client, road, base + query.format_map(tokens), headers)
            if not places:
                wrong = road == "api" or "Bearer nonsense" in text or "token=nonsense" in text
                wrong = wrong or "bearer.nonsense" in text
                assert status == (401 if wrong else 101), case
            elif road == "api":
                assert (status, json.loads(body)["username"]) == (200, places[0]), case
            else:
                assert status == 101, case
                assert user_of(client, places, tokens) == places[0], case
    assert sockets is not None
    assert "Traceback" not in chosen.process.output()


@pytest.mark.parametrize("road", ["front door", "another server"])
@pytest.mark.parametrize("order", ["valid first", "valid last"])
def test_an_empty_token_means_any_valid_cookie(
    edge: Edge, plain_edge: Edge, tokens: dict[str, str], stack: ExitStack, road: str, order: str
) -> None:
    chosen = edge if road == "front door" else plain_edge
    values = [tokens["cookie"], "nonsense"]
    if order == "valid last":
        values.reverse()
    client = RawSockets(chosen, stack).connect()
    client.send(
        request(
            "/ws",
            Host=f"127.0.0.1:{chosen.port}",
            Origin=chosen.url,
            Cookie="; ".join(f"{NAME}={value}" for value in values),
        )
    )
    assert client.response()[0] == 101
    client.send(client_frame(TEXT, b'{"action":"authenticate","token":"","id":1}'))
    client.frames_until(TEXT, b'"username":"cookie"')


@pytest.mark.parametrize("road", ["front door", "kept alive", "api"])
def test_a_token_that_is_too_long_is_refused_by_that_reason(
    edge: Edge, stack: ExitStack, road: str
) -> None:
    client = RawSockets(edge, stack).connect()
    headers = {"Host": "edge", "Authorization": f"Bearer {'x' * 16_385}"}
    status, body = ask(client, road, "/auth/me" if road == "api" else "/ws", headers)
    detail = "Invalid token: longer than 16384 characters"
    assert (status, json.loads(body)) == (401, {"detail": detail})


SNIPPET = re.compile(r"```js\n(const socket = new WebSocket\(.*?)```", re.DOTALL)
TALK = """([url, token]) => new Promise((resolve) => {{
  {snippet}
  socket.onopen = () => socket.send('{{"action":"subscribe","topic":"event:x"}}');
  socket.onmessage = ({{data}}) => {{
    if (data.includes("Subscribed")) resolve(socket.protocol);
  }};
  socket.onclose = ({{code, reason}}) => resolve(`${{code}} ${{reason}}`);
}})"""


@pytest.mark.parametrize("road", ["front door", "another server"])
def test_the_snippet_of_the_protocol_works_in_a_browser(
    cluster: Cluster, edge: Edge, plain_edge: Edge, road: str
) -> None:
    """On a page of the edge itself: its security policy allows no other."""
    chosen = edge if road == "front door" else plain_edge
    [snippet] = SNIPPET.findall((ROOT / "docs" / "protocol.md").read_text())
    path = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        page = browser.new_page()
        page.goto(chosen.url)
        url = f"ws://127.0.0.1:{chosen.port}/ws"
        talk = TALK.format(snippet=snippet)
        assert page.evaluate(talk, [url, cluster.token("alice")]) == "event-relay"
        assert page.evaluate(talk, [url, "nonsense"]) == "1006 "
        browser.close()


# Behind nginx.


def open_with_cookie(
    front: Edge, cluster: Cluster, stack: ExitStack, **headers: str
) -> tuple[RawSocket, int]:
    """Do what a browser does that has opened the page at nginx and has our cookie."""
    client = RawSockets(front, stack).connect()
    client.send(
        request(
            "/ws",
            Host=f"127.0.0.1:{front.port}",
            Origin=front.url,
            Cookie=f"{NAME}={cluster.token('alice')}",
            **headers,
        )
    )
    return client, client.response()[0]


def assert_is_alice(client: RawSocket) -> None:
    client.send(subscribe("event:x"))
    client.frames_until(TEXT, b"Subscribed to topic 'event:x'")


DROPS_THE_PORT = "proxy_set_header Host $host;"


@pytest.mark.parametrize("road", ["front door", "another server"])
@pytest.mark.parametrize(
    "tells",
    [
        "proxy_set_header X-Forwarded-Host $http_host;",
        "proxy_set_header X-Forwarded-Port $server_port;",
        "proxy_set_header Forwarded 'for=$remote_addr;host=\"$http_host\"';",
    ],
)
def test_a_proxy_that_drops_the_port_may_tell_it(
    cluster: Cluster,
    edge: Edge,
    plain_edge: Edge,
    stack: ExitStack,
    tmp_path: Path,
    road: str,
    tells: str,
) -> None:
    chosen = edge if road == "front door" else plain_edge
    front = start_nginx(cluster, chosen, tmp_path, f"{DROPS_THE_PORT} {tells}")
    client, status = open_with_cookie(front, cluster, stack)
    assert status == 101
    assert_is_alice(client)


def test_a_proxy_that_is_not_trusted_tells_nothing_and_the_log_names_the_settings(
    cluster: Cluster, stack: ExitStack, tmp_path: Path
) -> None:
    edge = cluster.start_edge(EDGE_TRUSTED_PROXIES="192.0.2.0/24")
    tells = f"{DROPS_THE_PORT} proxy_set_header X-Forwarded-Host $http_host;"
    front = start_nginx(cluster, edge, tmp_path, tells)
    for _ in range(3):
        client, status = open_with_cookie(front, cluster, stack)
        assert status == 101
        client.send(client_frame(TEXT, b'{"action":"authenticate","token":""}'))
        assert client.frames_until(CLOSE)[-1][1][2:] == b"Missing token"
    [line] = [line for line in edge.process.output().splitlines() if "Origin" in line]
    assert front.url in line
    for setting in ("EDGE_ALLOWED_ORIGINS", "EDGE_TRUSTED_PROXIES"):
        assert setting in line


def test_a_password_of_the_proxy_does_not_hide_the_cookie(
    cluster: Cluster, edge: Edge, stack: ExitStack, tmp_path: Path
) -> None:
    # Outside of `tmp_path`: nginx's worker is another user, and may not look into that.
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    directory.chmod(0o755)
    (directory / "htpasswd").write_text("u:{PLAIN}p\n")
    asks = f"auth_basic edge; auth_basic_user_file {directory}/htpasswd;"
    front = start_nginx(cluster, edge, tmp_path, f"{asks} proxy_set_header Host $http_host;")
    assert front.status("/healthz") == 401
    client, status = open_with_cookie(front, cluster, stack, Authorization="Basic dTpw")
    assert status == 101
    assert_is_alice(client)


def test_wrong_passwords_count_for_the_address_that_the_proxy_tells(
    cluster: Cluster, edge: Edge, tmp_path: Path
) -> None:
    """A proxy appends the address of its peer; the client's own words before it do not count."""
    tells = 'proxy_set_header X-Forwarded-For "$http_x_forwarded_for, 198.51.100.7";'
    front = start_nginx(cluster, edge, tmp_path, tells)
    body = b"grant_type=password&username=proxied&password=guess"
    invented = count(1)
    with ExitStack() as stack:
        client = RawSockets(front, stack).connect()

        def is_slowed() -> bool:
            client.send(
                b"POST /auth/token HTTP/1.1\r\nHost: edge\r\nX-Forwarded-For: 192.0.2.%d\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (next(invented), len(body), body)
            )
            return client.response()[0] == 429

        wait_for(is_slowed, "guesses are slowed")
    assert "sign-in as 'proxied' from 198.51.100.7" in edge.process.output()
