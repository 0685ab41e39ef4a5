"""An edge that speaks TLS itself: every road, several workers, slow clients, new certificates."""

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from edge.tls import CertificateFiles
from edge.websocket.arrivals import ARRIVAL_TIMEOUT_S
from relay.testing.client import EventClient
from tests.support.browser import CHROMIUM_ARGUMENTS, require_chromium
from tests.support.cluster import Cluster, free_ports
from tests.support.passwords import cheap_users
from tests.support.processes import python, run_cli
from tests.support.tls import SecureEdge, make_certificate, start_secure_edge, trusting
from tests.support.waiting import wait_for
from tests.support.websocket_frames import TEXT, client_frame

PASSWORD = "correct horse"
COOKIE = "session"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def cluster(shared_cluster: Cluster) -> Cluster:
    cheap_users(shared_cluster).add("alice", PASSWORD)
    return shared_cluster


@pytest.fixture(scope="module")
def edge(cluster: Cluster, files: CertificateFiles) -> SecureEdge:
    return start_secure_edge(cluster, files, EDGE_COOKIE_NAME=COOKIE)


def ask(
    edge: SecureEdge, method: str, path: str, body: str = "", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", edge.port, context=edge.context, timeout=20
    )
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body or None, named)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read()
    finally:
        connection.close()


def watch(cluster: Cluster, edge: SecureEdge, *topics: str, username: str = "bob") -> EventClient:
    url = f"wss://127.0.0.1:{edge.port}/ws?token={cluster.token(username)}"
    client = EventClient(url, ssl=edge.context)
    for topic in topics:
        client.subscribe(topic)
    return client


def raw(edge: SecureEdge, stack: ExitStack) -> ssl.SSLSocket:
    plain = stack.enter_context(socket.create_connection(("127.0.0.1", edge.port), 20))
    return stack.enter_context(edge.context.wrap_socket(plain, server_hostname="127.0.0.1"))


def certificate_of(port: int, *trusted: Path) -> str:
    """Return the name in the certificate that a new connection gets."""
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        trusting(*trusted).wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        found = connection.getpeercert()
    assert found is not None
    subject: list[list[tuple[str, str]]] = found["subject"]  # type: ignore[assignment]
    return dict(pair for part in subject for pair in part)["commonName"]


def test_pages_sign_in_and_the_cookie(edge: SecureEdge) -> None:
    form = urllib.parse.urlencode({"username": "alice", "password": PASSWORD})
    origin = {"Origin": edge.url}
    status, headers, _ = ask(edge, "POST", "/auth/token", form, **FORM, **origin)
    assert status == 200
    cookie = headers["set-cookie"].partition(";")[0]
    assert cookie.startswith(f"__Host-{COOKIE}=")
    assert "Secure" in headers["set-cookie"]
    assert json.loads(ask(edge, "GET", "/auth/me", Cookie=cookie)[2])["username"] == "alice"
    assert ask(edge, "GET", "/")[0] == 200
    wrong = {"Origin": f"http://127.0.0.1:{edge.port}"}
    assert ask(edge, "POST", "/auth/token", form, **FORM, **wrong)[0] == 403
    url = f"wss://127.0.0.1:{edge.port}/ws"
    for more in (origin, wrong):
        shown = {"Cookie": cookie, **more}
        with EventClient(url, ssl=edge.context, additional_headers=shown) as client:
            client.send({"action": "authenticate", "token": ""})
            if more is origin:
                assert client.receive()["username"] == "alice"
            else:
                assert client.wait_closed() == (1008, "Missing token")
    assert f"serving https://127.0.0.1:{edge.port}" in edge.process.output()


def test_nothing_is_served_without_tls(edge: SecureEdge) -> None:
    with socket.create_connection(("127.0.0.1", edge.port), 20) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while data := plain.recv(4096):
            answer += data
    assert b"HTTP" not in answer
    assert edge.status("/healthz") == 200


def test_events_arrive_in_order_on_websocket_and_event_stream(
    cluster: Cluster, edge: SecureEdge
) -> None:
    emitter = cluster.emitter("by-tls")
    with ExitStack() as stack:
        clients = [stack.enter_context(watch(cluster, edge, "event:tls")) for _ in range(3)]
        stream = http.client.HTTPSConnection(
            "127.0.0.1", edge.port, context=edge.context, timeout=20
        )
        stack.callback(stream.close)
        token = cluster.token("bob")
        stream.request("GET", f"/api/events?topic=event:tls&token={token}")
        answer = stream.getresponse()
        assert answer.status == 200
        wait_for(lambda: b"success" in answer.readline(), "the stream is subscribed")
        for number in range(200):
            emitter.emit("event:tls", {"number": number, "text": "x" * (number * 37)})
        for client in clients:
            for number in range(200):
                data = client.receive_on("event:tls")["data"]
                assert (data["number"], len(data["text"])) == (number, number * 37)
        got: list[int] = []
        while len(got) < 200:
            line = answer.readline()
            if line.startswith(b"data: ") and b'"number"' in line:
                got.append(json.loads(line[6:])["data"]["number"])
        assert got == list(range(200))


def test_refusals_are_read_to_the_end(edge: SecureEdge) -> None:
    """TLS has no half-closed connections."""
    handshake = (
        "GET /ws?token=x HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    for request, status in (
        (handshake.encode(), b"401"),
        (b"GET /ws HTTP/1.1\r\nA: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"POST /auth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nx", b"413"),
        (b"nonsense\r\n\r\n", b"400"),
    ):
        with ExitStack() as stack:
            client = raw(edge, stack)
            # Less than the time after which the connection would be cut.
            client.settimeout(ARRIVAL_TIMEOUT_S / 2)
            client.sendall(request)
            answer = b""
            while data := client.recv(65536):
                answer += data
        assert answer.startswith(b"HTTP/1.1 " + status), answer
        assert answer.endswith(b"}")


def test_a_broken_rule_is_told_by_a_close_frame(cluster: Cluster, edge: SecureEdge) -> None:
    with watch(cluster, edge) as client:
        client.send("x" * 100_000)
        assert client.wait_closed()[0] == 1009


def test_a_client_that_does_not_read_is_given_up_and_delays_nobody(
    cluster: Cluster, files: CertificateFiles
) -> None:
    edge = start_secure_edge(cluster, files, EDGE_MAX_QUEUED_BYTES="100000")
    emitter = cluster.emitter("slow-by-tls")
    token = cluster.token("carol")
    with ExitStack() as stack:
        lazy = raw(edge, stack)
        lazy.sendall(
            f"GET /ws?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        lazy.sendall(client_frame(TEXT, b'{"action":"subscribe","topic":"event:slow","id":1}'))
        came = b""
        while b"Subscribed" not in came:
            came += lazy.recv(4096)
        client = stack.enter_context(watch(cluster, edge, "event:slow"))
        for number in range(400):
            emitter.emit("event:slow", {"number": number, "text": "x" * 40_000})
            assert client.receive_on("event:slow")["data"]["number"] == number

        def is_given_up() -> bool:
            metrics = ask(edge, "GET", "/metrics")[2].decode()
            return 'edge_closed_total{code="4008"' in metrics

        wait_for(is_given_up, "the lazy client is given up")
        _, _, metrics = ask(edge, "GET", "/metrics")
        assert b"Traceback" not in edge.process.output().encode()
        waiting = [line for line in metrics.decode().splitlines() if "edge_waiting_bytes{" in line]
        assert float(waiting[0].split()[-1]) == 0


def test_a_client_that_reads_slowly_gets_everything(cluster: Cluster, edge: SecureEdge) -> None:
    """Its connection is full again and again, and goes on each time."""
    emitter = cluster.emitter("steady-by-tls")
    with watch(cluster, edge, "event:steady", username="dora") as client:
        for number in range(60):
            emitter.emit("event:steady", {"number": number, "text": "x" * 50_000})
        for number in range(60):
            assert client.receive_on("event:steady")["data"]["number"] == number
        emitter.emit("event:steady", {"number": 60})
        assert client.receive_on("event:steady")["data"]["number"] == 60


def test_several_workers_speak_tls(cluster: Cluster, files: CertificateFiles) -> None:
    edge = start_secure_edge(cluster, files, EDGE_WORKERS="2")
    emitter = cluster.emitter("to-workers")
    with ExitStack() as stack:
        clients = [stack.enter_context(watch(cluster, edge, "event:many")) for _ in range(16)]
        emitter.emit("event:many", {"number": 1})
        for client in clients:
            assert client.receive_on("event:many")["data"] == {"number": 1}
        assert edge.process.terminate() == 0, edge.process.output()
        assert {client.wait_closed()[0] for client in clients} == {1001}
    assert "Traceback" not in edge.process.output()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_new_certificate_is_used_and_open_connections_stay(
    cluster: Cluster, tmp_path: Path, workers: str
) -> None:
    old, new, other = (make_certificate(tmp_path / name, name) for name in ("old", "new", "other"))
    files = CertificateFiles(tmp_path / "edge.crt", tmp_path / "edge.key")

    def install(certificate: CertificateFiles, key: CertificateFiles) -> None:
        for source, target in ((certificate.certificate, files.certificate), (key.key, files.key)):
            draft = target.with_suffix(".draft")
            draft.write_bytes(source.read_bytes())
            draft.chmod(0o600)
            draft.rename(target)

    install(old, old)
    edge = start_secure_edge(cluster, files, EDGE_WORKERS=workers)

    def names() -> set[str]:
        trusted = old.certificate, new.certificate, other.certificate
        return {certificate_of(edge.port, *trusted) for _ in range(8)}

    emitter = cluster.emitter(f"renewing-{workers}")
    with watch(cluster, edge, "event:renewed") as client:
        assert names() == {"old"}
        install(new, new)
        wait_for(lambda: names() == {"new"}, "every worker has the new one")
        # In the midst of a renewal the files do not fit each other.
        install(other, new)
        wait_for(lambda: names() and "stays in use" in edge.process.output(), "it is logged")
        assert names() == {"new"}
        install(other, other)
        wait_for(lambda: names() == {"other"}, "every worker has the last one")
        emitter.emit("event:renewed", {"number": 1})
        assert client.receive_on("event:renewed")["data"] == {"number": 1}
    assert "Traceback" not in edge.process.output()


@pytest.fixture
def unusable(tmp_path: Path) -> dict[str, tuple[dict[str, str], str]]:
    one, two = make_certificate(tmp_path, "one"), make_certificate(tmp_path, "two")
    locked = make_certificate(tmp_path, "locked", "-passout", "pass:secret")
    lax = make_certificate(tmp_path, "lax")
    lax.key.chmod(0o644)
    (tmp_path / "text").write_text("nonsense")
    (tmp_path / "text").chmod(0o600)
    return {
        "no certificate": ({"EDGE_TLS_KEY": str(one.key)}, "EDGE_TLS_CERT: is missing beside"),
        "no file": ({"EDGE_TLS_CERT": str(tmp_path / "none")}, "EDGE_TLS_CERT: cannot read"),
        "no key": ({"EDGE_TLS_CERT": str(one.certificate)}, "are not a certificate in PEM and"),
        "another key": (
            {"EDGE_TLS_CERT": str(one.certificate), "EDGE_TLS_KEY": str(two.key)},
            "(KEY_VALUES_MISMATCH)",
        ),
        "a passphrase": (
            {"EDGE_TLS_CERT": str(locked.certificate), "EDGE_TLS_KEY": str(locked.key)},
            "its key without a passphrase",
        ),
        "no PEM": ({"EDGE_TLS_CERT": str(tmp_path / "text")}, "are not a certificate in PEM"),
        "a key that others may read": (
            {"EDGE_TLS_CERT": str(lax.certificate), "EDGE_TLS_KEY": str(lax.key)},
            f"EDGE_TLS_KEY: {lax.key}: other users may use it (its mode is 644): chmod 600",
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        "no certificate",
        "no file",
        "no key",
        "another key",
        "a passphrase",
        "no PEM",
        "a key that others may read",
    ],
)
def test_files_that_cannot_be_used_are_refused_in_one_line(
    cluster: Cluster, unusable: dict[str, tuple[dict[str, str], str]], case: str
) -> None:
    env, told = unusable[case]
    if case == "no key":
        os.chmod(env["EDGE_TLS_CERT"], 0o600)
    [port] = free_ports(1)
    ended = run_cli("edge", env=cluster.env | env | {"EDGE_PORT": str(port)})
    assert ended.returncode == 2
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_earlier_versions_of_tls_are_refused(edge: SecureEdge) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    for newest, works in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = newest
        with socket.create_connection(("127.0.0.1", edge.port), 20) as plain:
            if works:
                context.wrap_socket(plain).close()
                continue
            with pytest.raises(ssl.SSLError):
                context.wrap_socket(plain)


def test_a_handshake_that_does_not_come_is_given_up(edge: SecureEdge) -> None:
    with socket.create_connection(("127.0.0.1", edge.port), 40) as silent:
        assert silent.recv(1) == b""
    assert edge.status("/healthz") == 200


def test_handshakes_count_as_connections_of_their_address(
    cluster: Cluster, files: CertificateFiles, stack: ExitStack
) -> None:
    edge = start_secure_edge(
        cluster,
        files,
        EDGE_TRUSTED_PROXIES="192.0.2.1",
        EDGE_MAX_CONNECTIONS_PER_ADDRESS="20",
        EDGE_METRICS_ACCESS="everybody",
    )
    silent = [
        stack.enter_context(socket.create_connection(("127.0.0.1", edge.port), 20))
        for _ in range(20)
    ]
    assert edge.status("/healthz") == 0, "the address has its connections, all in handshakes"
    with socket.create_connection(("127.0.0.1", edge.port), 5) as cut:
        # At once, and before a handshake would cost anything.
        assert cut.recv(1) == b""
    silent[0].close()
    wait_for(lambda: edge.status("/healthz") == 200, "one of them has left")
    for each in silent:
        each.close()
    with urllib.request.urlopen(f"{edge.url}/metrics", context=edge.context) as answer:
        metrics = answer.read().decode()
    [refused] = re.findall(r'edge_address_refusals_total\{limit="connections".*\} (\S+)', metrics)
    assert float(refused) >= 2
    assert "Traceback" not in edge.process.output()


def test_what_is_no_handshake_ends_and_leaves_nothing_behind(edge: SecureEdge) -> None:
    for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00" + b"x" * 512, b"\x16"):
        with socket.create_connection(("127.0.0.1", edge.port), 20) as wrong:
            wrong.sendall(said)
            wrong.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while wrong.recv(4096):
                    pass
    assert edge.status("/healthz") == 200
    assert "Traceback" not in edge.process.output()


def test_the_dashboard_is_live_by_https(edge: SecureEdge) -> None:
    path = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.goto(edge.url)
        page.get_by_label("Username").fill("alice")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        state = page.get_by_test_id("connection-state")
        expect(state).to_have_attribute("data-state", "live", timeout=15_000)
        [cookie] = context.cookies()
        assert (cookie["name"], cookie["secure"]) == (f"__Host-{COOKIE}", True)
        page.get_by_test_id("signout").click()
        expect(page.get_by_test_id("signin-form")).to_be_visible()
        assert context.cookies() == []
        browser.close()


def test_the_welcome_names_the_page_by_https(
    cluster: Cluster, edge: SecureEdge, files: CertificateFiles
) -> None:
    ended = subprocess.run(
        python("-m", "relay.demo.welcome"),
        env=os.environ | {"EDGE_PORT": str(edge.port), "EDGE_TLS_CERT": str(files.certificate)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.startswith(f"Open {edge.url} and sign in")
