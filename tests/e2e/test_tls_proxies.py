"""The examples of nginx and Caddy with TLS, as they are in `examples`, with real proxies."""

import http.client
import json
import urllib.parse
from pathlib import Path

import pytest

from edge.core.identity.wrong_passwords import FREE_PER_ADDRESS
from edge.tls import CertificateFiles
from relay.testing.client import EventClient
from tests.support.caddy import find_caddy
from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.nginx import find_nginx
from tests.support.passwords import cheap_users
from tests.support.processes import ROOT
from tests.support.tls import SecureEdge, make_certificate, trusting
from tests.support.waiting import wait_for

PASSWORD = "correct horse"
EXAMPLES = ROOT / "examples"
SPOOFED = {
    "X-Forwarded-For": "203.0.113.{number}",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "80",
    "X-Real-IP": "203.0.113.{number}",
    "Forwarded": "for=203.0.113.{number};proto=http;host=evil.example",
}


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    cheap_users(shared_cluster).add("alice", PASSWORD)
    return shared_cluster


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


def replaced(name: str, places: dict[str, str]) -> str:
    """Return an example with other places in it, each of which must be there."""
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    for place, other in places.items():
        assert place in text, f"{name} lacks {place}"
        text = text.replace(place, other)
    return text


def command_of(
    proxy: str, edge: Edge, files: CertificateFiles, place: Path, port: int
) -> list[str]:
    """Return the command that starts the proxy of an example, changed to its place here."""
    places = {
        "127.0.0.1:8000": f"127.0.0.1:{edge.port}",
        "/etc/ssl/example.org.crt": str(files.certificate),
        "/etc/ssl/example.org.key": str(files.key),
    }
    if proxy == "nginx":
        places["listen 443 ssl"] = f"listen 127.0.0.1:{port} ssl"
        (place / "nginx.conf").write_text(replaced("nginx-tls.conf", places))
        return [find_nginx(), "-p", str(place), "-c", str(place / "nginx.conf")]
    places["admin off"] = "admin off\n\tauto_https disable_redirects"
    places["example.org {"] = f"https://127.0.0.1:{port} {{"
    (place / "Caddyfile").write_text(replaced("Caddyfile", places))
    return [find_caddy(), "run", "--config", str(place / "Caddyfile"), "--adapter", "caddyfile"]


@pytest.fixture(scope="module", params=["nginx", "Caddy"])
def front(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    files: CertificateFiles,
    tmp_path_factory: pytest.TempPathFactory,
) -> SecureEdge:
    """The edge as seen through the proxy."""
    place = tmp_path_factory.mktemp(request.param)
    edge = cluster.start_edge(
        EDGE_COOKIE_NAME="session", EDGE_ALLOWED_HOSTS="127.0.0.1", EDGE_DOCS_ACCESS="user"
    )
    [port] = free_ports(1)
    command = command_of(request.param, edge, files, place, port)
    process = cluster.start(request.param, command, HOME=str(place), XDG_DATA_HOME=str(place))
    found = SecureEdge(Edge(process, port, 1), trusting(files.certificate))
    wait_for(lambda: found.status("/healthz") == 200, f"{request.param} answers")
    return found


def ask(
    front: SecureEdge, method: str, path: str, headers: dict[str, str], body: str = ""
) -> http.client.HTTPResponse:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", front.port, context=front.context, timeout=20
    )
    more = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
    connection.request(method, path, body or None, more | headers)
    answer = connection.getresponse()
    answer.read_whole = answer.read()  # type: ignore[attr-defined]
    connection.close()
    return answer


def form(username: str, password: str) -> str:
    return urllib.parse.urlencode({"username": username, "password": password})


def test_signing_in_and_watching_by_tls(cluster: Cluster, front: SecureEdge) -> None:
    own = {"Origin": front.url}
    answer = ask(front, "POST", "/auth/token", own, form("alice", PASSWORD))
    assert answer.status == 200
    cookie = str(answer.headers["Set-Cookie"]).partition(";")[0]
    assert cookie.startswith("__Host-session=")
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    foreign = {"Origin": f"http://127.0.0.1:{front.port}"}
    assert ask(front, "POST", "/auth/token", foreign, form("alice", PASSWORD)).status == 403
    emitter = cluster.emitter(f"behind-{front.port}")
    headers = {"Cookie": cookie, "Origin": front.url}
    url = f"wss://127.0.0.1:{front.port}/ws"
    with EventClient(url, ssl=front.context, additional_headers=headers) as client:
        client.send({"action": "authenticate", "token": ""})
        assert client.receive()["username"] == "alice"
        client.subscribe("event:proxied")
        emitter.emit("event:proxied", {"number": 1})
        assert client.receive_on("event:proxied")["data"] == {"number": 1}
    document = ask(front, "GET", "/asyncapi.json", {"Cookie": cookie}).read_whole  # type: ignore[attr-defined]
    [server] = json.loads(document)["servers"].values()
    assert (server["host"], server["protocol"]) == (f"127.0.0.1:{front.port}", "wss")


def test_nothing_that_a_client_claims_gets_through(front: SecureEdge) -> None:
    """Guesses under many claimed addresses are those of one address."""
    statuses = []
    for number in range(FREE_PER_ADDRESS + 2):
        spoofed = {name: value.format(number=number) for name, value in SPOOFED.items()}
        answer = ask(front, "POST", "/auth/token", spoofed, form(f"nobody {number}", "guess"))
        statuses.append(answer.status)
    assert statuses[:FREE_PER_ADDRESS] == [401] * FREE_PER_ADDRESS
    assert 429 in statuses
    own = {"Origin": front.url} | {name: value.format(number=1) for name, value in SPOOFED.items()}
    assert ask(front, "POST", "/auth/logout", own).status == 204
    evil = {"Origin": "http://evil.example", **SPOOFED}
    assert ask(front, "POST", "/auth/logout", evil).status == 403
