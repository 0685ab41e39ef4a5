"""Pages elsewhere, forged hosts, and the headers of every answer, with raw requests."""

import json
import urllib.parse
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Edge
from tests.support.nginx import start_nginx
from tests.support.passwords import cheap_users
from tests.support.raw_http import RawSockets
from tests.support.waiting import wait_for

PASSWORD = "correct horse"
FORM = urllib.parse.urlencode({"username": "mallory", "password": PASSWORD})
COOKIE = "session"
FRIEND = "https://pages.example"
EVIL = "https://evil.example"
TELLS_ALL = (
    "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    " proxy_set_header X-Forwarded-Proto {scheme};"
)


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    users = cheap_users(shared_cluster)
    for name in ("alice", "mallory"):
        users.add(name, PASSWORD)
    return shared_cluster


@pytest.fixture(scope="module", params=["our server", "another server"])
def edge(request: pytest.FixtureRequest, cluster: Cluster) -> Edge:
    start = cluster.start_edge if request.param == "our server" else cluster.start_plain_edge
    edge: Edge = start(
        EDGE_ALLOWED_ORIGINS=FRIEND, EDGE_COOKIE_NAME=COOKIE, EDGE_DOCS_ACCESS="everybody"
    )
    return edge


@pytest.fixture(scope="module")
def named_edge(cluster: Cluster) -> Edge:
    return cluster.start_edge(
        EDGE_ALLOWED_HOSTS="edge.example,*.local.example", EDGE_DOCS_ACCESS="everybody"
    )


def ask(
    edge: Edge, line: str, *lines: str, host: str = "", body: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Send a request on a connection of its own."""
    head = [f"{line} HTTP/1.1", f"Host: {host or f'127.0.0.1:{edge.port}'}", *lines]
    if body:
        head += [f"Content-Length: {len(body)}"]
    if body and not any(each.lower().startswith("content-type") for each in lines):
        head += ["Content-Type: application/x-www-form-urlencoded"]
    with ExitStack() as stack:
        client = RawSockets(edge, stack).connect()
        client.send("\r\n".join([*head, "", body]).encode())
        return client.response()


# Signing in and out.

FOREIGN = {
    "another site": (f"Origin: {EVIL}",),
    "another scheme": ("Origin: https://127.0.0.1:{port}",),
    "another port": ("Origin: http://127.0.0.1:1",),
    "a frame without an origin": ("Origin: null",),
    "another site, as the browser says": ("Sec-Fetch-Site: cross-site",),
    "the same site": (f"Origin: {EVIL}", "Sec-Fetch-Site: same-site"),
    "with a host that it makes up": (f"Origin: {EVIL}", "X-Forwarded-Host: evil.example"),
}
OWN = {
    "a program": (),
    "our page": ("Origin: http://127.0.0.1:{port}",),
    "our page, as the browser says": ("Origin: https://public.example", "Sec-Fetch-Site: none"),
    "a friend": (f"Origin: {FRIEND}", "Sec-Fetch-Site: cross-site"),
}


def lines_of(edge: Edge, lines: tuple[str, ...]) -> list[str]:
    return [line.format(port=edge.port) for line in lines]


@pytest.mark.parametrize("page", FOREIGN)
@pytest.mark.parametrize("content", ["form", "JSON"])
def test_a_page_elsewhere_signs_nobody_in(edge: Edge, page: str, content: str) -> None:
    body, kind = FORM, "application/x-www-form-urlencoded"
    if content == "JSON":
        body, kind = json.dumps({"username": "mallory", "password": PASSWORD}), "application/json"
    lines = [*lines_of(edge, FOREIGN[page]), f"Content-Type: {kind}"]
    status, headers, answer = ask(edge, "POST /auth/token", *lines, body=body)
    assert (status, "set-cookie" in headers) == (403, False)
    assert json.loads(answer) == {"detail": "A page elsewhere cannot sign in or out"}


@pytest.mark.parametrize("page", FOREIGN)
def test_a_page_elsewhere_signs_nobody_out(cluster: Cluster, edge: Edge, page: str) -> None:
    """Not by a link with a token of its own either."""
    for line in ("POST /auth/logout", f"GET /auth/logout?token={cluster.token('mallory')}"):
        status, headers, _ = ask(edge, line, *lines_of(edge, FOREIGN[page]))
        assert (status, "set-cookie" in headers) == (403, False), line


@pytest.mark.parametrize("page", OWN)
def test_own_pages_friends_and_programs_sign_in_and_out(edge: Edge, page: str) -> None:
    lines = lines_of(edge, OWN[page])
    status, headers, _ = ask(edge, "POST /auth/token", *lines, body=FORM)
    assert status == 200
    assert headers["set-cookie"].startswith(f"{COOKIE}=")
    status, headers, _ = ask(edge, "POST /auth/logout", *lines)
    assert (status, "set-cookie" in headers) == (204, True)


def test_refused_pages_are_counted_and_logged(edge: Edge) -> None:
    ask(edge, "POST /auth/token", f"Origin: {EVIL}", body=FORM)
    wait_for(lambda: edge.metrics()["edge_sign_ins"].get("foreign", 0) > 0, "it is counted")
    assert "was refused to sign in or out: the Host is" in edge.process.output()


@pytest.mark.parametrize("authorization", ["", "Basic dTpw"])
def test_a_page_elsewhere_publishes_nothing_with_what_the_browser_keeps(
    cluster: Cluster, edge: Edge, authorization: str
) -> None:
    lines = [
        f"Origin: {EVIL}",
        f"Cookie: access_token_cookie={cluster.token('root', 'admin')}",
        "Content-Type: application/json",
    ]
    if authorization:
        lines.append(f"Authorization: {authorization}")
    body = json.dumps({"topic": "event:x", "data": {}})
    assert ask(edge, "POST /api/events", *lines, body=body)[0] == 403


# The cookie by TLS.


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_by_tls_the_cookie_is_for_this_host_alone(
    cluster: Cluster, edge: Edge, tmp_path: Path, scheme: str
) -> None:
    """As behind a proxy that ends TLS. From anybody else its header does not count."""
    front = start_nginx(cluster, edge, tmp_path, TELLS_ALL.format(scheme=scheme))
    name = f"__Host-{COOKIE}" if scheme == "https" else COOKIE
    origin = f"Origin: {scheme}://127.0.0.1:{front.port}"
    _, headers, _ = ask(front, "POST /auth/token", origin, body=FORM)
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert cookie.startswith(f"{name}=")
    assert {"Path=/", "HttpOnly", "SameSite=strict"} <= set(attributes)
    assert ("Secure" in attributes) is (scheme == "https")
    assert not [each for each in attributes if each.lower().startswith("domain")]
    for path in ("/auth/me", "/api/topics"):
        assert ask(front, f"GET {path}", f"Cookie: {cookie}")[0] == 200
    wrong_scheme = "http" if scheme == "https" else "https"
    wrong = f"Origin: {wrong_scheme}://127.0.0.1:{front.port}"
    assert ask(front, "POST /auth/token", wrong, body=FORM)[0] == 403


def set_cookies(edge: Edge, line: str, *lines: str, body: str = "") -> dict[str, str]:
    """Return the cookies that an answer sets, "" for those that it deletes."""
    with ExitStack() as stack:
        client = RawSockets(edge, stack).connect()
        head = [f"{line} HTTP/1.1", f"Host: 127.0.0.1:{edge.port}", *lines]
        head += ["Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}"]
        client.send("\r\n".join([*head, "", body]).encode())
        found = {}
        for each in client.head().decode().split("\r\n")[1:]:
            name, _, value = each.partition(": ")
            if name.lower() == "set-cookie":
                assert "Secure" in value, "a browser would not take it"
                key, _, rest = value.partition("=")
                found[key] = rest.partition(";")[0].strip('"')
        return found


def test_the_cookie_of_before_tls_still_counts_and_goes_with_the_next_sign_in_or_out(
    cluster: Cluster, edge: Edge
) -> None:
    by_tls = "X-Forwarded-Proto: https"
    old = f"Cookie: {COOKIE}={cluster.token('alice')}"
    assert ask(edge, "GET /auth/me", old, by_tls)[0] == 200
    found = set_cookies(edge, "POST /auth/token", old, by_tls, body=FORM)
    assert set(found) == {COOKIE, f"__Host-{COOKIE}"}
    assert found[COOKIE] == ""
    both = f"{old}; __Host-{COOKIE}={found[f'__Host-{COOKIE}']}"
    status, _, answer = ask(edge, "GET /auth/me", both, by_tls)
    assert (status, json.loads(answer)["username"]) == (200, "mallory"), "the new one wins"
    gone = set_cookies(edge, "POST /auth/logout", both, by_tls)
    assert gone == {COOKIE: "", f"__Host-{COOKIE}": ""}


# Hosts.


def test_no_redirect_and_no_link_goes_to_a_forged_host(cluster: Cluster, edge: Edge) -> None:
    bearer = f"Authorization: Bearer {cluster.token('alice')}"
    for lines in ((), ("X-Forwarded-Host: evil.example",)):
        for path in ("/docs/", "/docs", "//docs", "/static", "/static/", "/asyncapi.json"):
            status, headers, body = ask(edge, f"GET {path}", bearer, *lines, host="evil.example")
            assert status in (200, 404), path
            assert "location" not in headers
            assert b"evil.example" not in body
    document = json.loads(ask(edge, "GET /asyncapi.json", bearer, host="evil.example")[2])
    [server] = document["servers"].values()
    assert server["host"] == f"127.0.0.1:{edge.port}"


@pytest.mark.parametrize(
    ("host", "is_served"),
    [
        ("edge.example", True),
        ("EDGE.example:8443", True),
        ("a.local.example", True),
        ("evil.example", False),
        ("local.example", False),
        ("127.0.0.1", False),
    ],
)
def test_with_allowed_hosts_others_are_refused_on_every_road(
    cluster: Cluster, named_edge: Edge, host: str, is_served: bool
) -> None:
    token = cluster.token("alice")
    bearer = f"Authorization: Bearer {token}"
    upgrade = (
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    for line, wanted in (("GET /", 200), ("GET /auth/me", 200), ("GET /api/topics", 200)):
        assert ask(named_edge, line, bearer, host=host)[0] == (wanted if is_served else 400)
    status, _, _ = ask(named_edge, f"GET /ws?token={token}", *upgrade, host=host)
    assert status == (101 if is_served else 400)
    assert ask(named_edge, "GET /healthz", host=host)[0] == 200
    if is_served:
        document = json.loads(ask(named_edge, "GET /asyncapi.json", bearer, host=host)[2])
        [server] = document["servers"].values()
        assert server["host"] == host


# Headers.

POLICY = "default-src 'none'"


def check_headers(status: int, headers: dict[str, str], path: str) -> None:
    told = (path, status, headers)
    policy = headers["content-security-policy"]
    assert policy.startswith(POLICY), told
    assert "frame-ancestors 'none'" in policy, told
    assert "base-uri 'none'" in policy, told
    assert "'unsafe-inline'" not in policy.replace("style-src 'self' 'unsafe-inline'", ""), told
    assert "'unsafe-eval'" not in policy, told
    assert headers["x-content-type-options"] == "nosniff", told
    assert headers["x-frame-options"] == "DENY", told
    assert headers["referrer-policy"] == "no-referrer", told
    assert headers["cross-origin-opener-policy"] == "same-origin", told
    assert headers["cross-origin-resource-policy"] == "same-origin", told
    is_file = (status in (200, 304) and path.startswith(("/static/", "/docs"))) or path == "/"
    assert headers["cache-control"] == ("no-cache" if is_file else "no-store"), told


@pytest.mark.parametrize("signed_in", [True, False])
def test_every_answer_has_the_security_headers(
    cluster: Cluster, edge: Edge, signed_in: bool
) -> None:
    bearer = [f"Authorization: Bearer {cluster.token('root', 'admin')}"] if signed_in else []
    for path in (
        *("/", "/docs", "/docs/", "/healthz", "/readyz", "/metrics", "/openapi.json"),
        *(
            "/asyncapi.json",
            "/nowhere",
            "/static/relay-client.js",
            "/static/none",
            "/static/docs.js",
        ),
        *("/auth/me", "/auth/token", "/auth/logout", "/api/tasks", "/api/topics"),
        *("/api/events?topic=", "/api/streams/none/events", "/api/users/x/disconnect"),
    ):
        status, headers, _ = ask(edge, f"GET {path}", *bearer)
        check_headers(status, headers, path)
    for line, body in (("POST /auth/token", "{"), ("POST /auth/token", FORM), ("PUT /", "")):
        status, headers, _ = ask(edge, line, body=body)
        check_headers(status, headers, "POST")


RAW_ERRORS = {
    "what is not HTTP": b"nonsense\r\n\r\n",
    "a head that is too large": b"GET /api HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40_000,
    "a head for /ws that is too large": b"GET /ws HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40_000,
    "a body that is too large": b"POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 99999"
    b"\r\n\r\n",
    "a handshake of another version": b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\n\r\n",
    "a handshake with a wrong token": b"GET /ws?token=x HTTP/1.1\r\nHost: x\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "an address of WebSockets without one": b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("case", RAW_ERRORS)
def test_so_have_the_errors_of_the_front_door(cluster: Cluster, case: str) -> None:
    edge = cluster_edge(cluster)
    with ExitStack() as stack:
        client = RawSockets(edge, stack).connect()
        client.send(RAW_ERRORS[case])
        status, headers, _ = client.response()
    assert 400 <= status < 500
    check_headers(status, headers, case)


_edges: dict[Cluster, Edge] = {}


def cluster_edge(cluster: Cluster) -> Edge:
    """One of our own server for all cases."""
    if cluster not in _edges:
        _edges[cluster] = cluster.start_edge()
    return _edges[cluster]
