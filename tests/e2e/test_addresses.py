"""IPv6, Unix sockets and addresses of every interface, with real programs."""

import http.client
import json
import os
import shutil
import signal
import socket
import stat
from pathlib import Path

import pytest
from websockets.sync.client import connect, unix_connect

from tests.support.cluster import Cluster, free_ports
from tests.support.processes import ManagedProcess, python, run_cli
from tests.support.waiting import wait_for


def ipv6(endpoint: str) -> str:
    return endpoint.replace("127.0.0.1", "[::1]")


class UnixConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("edge", timeout=20)
        self._path = path

    def connect(self) -> None:
        """See http.client."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def status_at(path: Path, page: str) -> int:
    """Return the HTTP status of a GET through the Unix socket, 0 without an answer."""
    connection = UnixConnection(path)
    try:
        connection.request("GET", page)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_everything_works_with_ipv6(cluster: Cluster) -> None:
    names = [name for name in cluster.env if cluster.env[name].startswith("tcp://")]
    cluster.env |= {name: ipv6(cluster.env[name]) for name in names}
    cluster.env["EMITTER_RELAY_EGRESS"] = ipv6(cluster.egress)
    cluster.start_relay()
    [port] = free_ports(1)
    edge = cluster.start(
        "edge", python("-m", "edge"), EDGE_HOST="::1", EDGE_PORT=str(port), EDGE_WORKERS="2"
    )
    edge.wait_for_output("following the relay")
    assert f"serving http://[::1]:{port} with 2 worker(s)" in edge.output()
    tail = cluster.start_forked("tail", python("-m", "emitters", "tail", "event:", "--count", "1"))
    tail.wait_for_output("watching 'event:'")
    sent = run_cli("emitters", "event:a", '{"x":1}', env=cluster.env)
    assert sent.returncode == 0, sent.stderr
    tail.wait_ended()
    assert '"topic":"event:a"' in tail.output()
    counters = run_cli("relay", "stats", env=cluster.env)
    assert json.loads(counters.stdout)["relayed"]["event"] == 1
    welcome = run_cli(
        "relay.demo.welcome", env=cluster.env | {"EDGE_HOST": "::1", "EDGE_PORT": str(port)}
    )
    assert f"Open http://[::1]:{port} and" in welcome.stdout


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]", "lo", "localhost"])
def test_statistics_are_found_at_the_address_at_which_the_relay_listens(
    cluster: Cluster, host: str
) -> None:
    names = ("RELAY_INGRESS", "RELAY_EGRESS", "RELAY_CONTROL")
    cluster.env |= {name: cluster.env[name].replace("127.0.0.1", host) for name in names}
    cluster.start_relay(RELAY_PLAIN_TCP="true")
    counters = run_cli("relay", "stats", env=cluster.env)
    assert counters.returncode == 0, counters.stderr
    assert json.loads(counters.stdout)["journaling"]


def test_a_relay_of_every_interface_takes_emitters_with_ipv4_and_ipv6(cluster: Cluster) -> None:
    names = ("RELAY_INGRESS", "RELAY_EGRESS", "RELAY_CONTROL")
    everywhere = {name: cluster.env[name].replace("127.0.0.1", "*") for name in names}
    cluster.start_relay(RELAY_PLAIN_TCP="true", **everywhere)
    for change in (str, ipv6):
        env = cluster.env | {
            name: change(cluster.env[name])
            for name in ("EMITTER_RELAY_INGRESS", "EMITTER_RELAY_CONTROL")
        }
        sent = run_cli("emitters", "event:a", "{}", env=env)
        assert sent.returncode == 0, sent.stderr


@pytest.mark.parametrize("host", ["*", "0.0.0.0", "[::]"])
def test_beyond_loopback_a_relay_needs_a_key_or_a_word(cluster: Cluster, host: str) -> None:
    endpoint = cluster.env["RELAY_EGRESS"].replace("127.0.0.1", host)
    ended = run_cli("relay", env=cluster.env | {"RELAY_EGRESS": endpoint})
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith(
        f"event-relay: RELAY_EGRESS: {endpoint} would take events from everybody"
    )
    assert "RELAY_CURVE_KEY_FILE" in line


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("edge",), "EDGE_RELAY_EGRESS"),
        (("emitters", "event:a", "{}"), "EMITTER_RELAY_INGRESS"),
        (("emitters", "tail"), "EMITTER_RELAY_EGRESS"),
        (
            ("relay.demo", "manager", "--servers", "a", "--data-dir", "x", "--user", "u"),
            "EMITTER_RELAY_CONTROL",
        ),
    ],
)
def test_the_listening_address_of_a_relay_is_refused_with_the_one_to_use(
    cluster: Cluster, command: tuple[str, ...], name: str
) -> None:
    ended = run_cli(*command, env=cluster.env | {name: "tcp://*:5555"})
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert f"{name}: tcp://*:5555 is an address to listen on" in line
    assert "use tcp://127.0.0.1:5555" in line


@pytest.mark.parametrize("option", ["--ingress", "--control"])
def test_an_option_with_a_wrong_address_is_one_line(cluster: Cluster, option: str) -> None:
    ended = run_cli("emitters", option, "tcp://*:5555", "event:a", "{}", env=cluster.env)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1


class TestUnixSocket:
    """`EDGE_HOST=unix:PATH`."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "edge.sock"

    def start(self, cluster: Cluster, path: Path, **env: str) -> ManagedProcess:
        command = python("-m", "edge")
        edge = cluster.start_forked("edge", command, EDGE_HOST=f"unix:{path}", **env)
        wait_for(lambda: edge.returncode is not None or status_at(path, "/readyz") == 200, "ready")
        return edge

    @pytest.mark.parametrize("workers", ["1", "2"])
    def test_pages_and_websockets_work(self, cluster: Cluster, path: Path, workers: str) -> None:
        cluster.start_relay()
        edge = self.start(cluster, path, EDGE_WORKERS=workers)
        assert f"serving unix:{path} with {workers} worker(s)" in edge.output()
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        uri = f"ws://edge/ws?token={cluster.token('alice')}"
        with unix_connect(str(path), uri) as client:
            client.send('{"action":"subscribe","topic":"event:a"}')
            wait_for(lambda: '"success"' in str(client.recv(20)), "a reply")
        assert edge.terminate() == 0, edge.output()
        assert not path.exists()
        assert "Traceback" not in edge.output()

    def test_the_socket_of_a_killed_edge_is_replaced(self, cluster: Cluster, path: Path) -> None:
        cluster.start_relay()
        self.start(cluster, path).kill()
        assert path.is_socket()
        edge = self.start(cluster, path)
        assert status_at(path, "/healthz") == 200, edge.output()

    def test_a_socket_in_use_is_refused(self, cluster: Cluster, path: Path) -> None:
        cluster.start_relay()
        self.start(cluster, path)
        second = self.start(cluster, path)
        second.wait_ended()
        assert second.returncode == 2
        assert second.output() == f"event-edge: EDGE_HOST: unix:{path} is already in use\n"
        assert status_at(path, "/healthz") == 200

    def test_a_socket_of_other_software_is_refused(self, cluster: Cluster, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            ended = run_cli("edge", env=cluster.env | {"EDGE_HOST": f"unix:{path}"})
        assert ended.stderr == f"event-edge: EDGE_HOST: unix:{path} is already in use\n"

    def test_a_file_that_is_no_socket_stays(self, cluster: Cluster, path: Path) -> None:
        path.write_text("mine")
        ended = run_cli("edge", env=cluster.env | {"EDGE_HOST": f"unix:{path}"})
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
        assert "not a socket" in ended.stderr
        assert path.read_text() == "mine"

    def test_a_missing_directory_is_one_line(self, cluster: Cluster, path: Path) -> None:
        env = cluster.env | {"EDGE_HOST": f"unix:{path.parent}/none/edge.sock"}
        ended = run_cli("edge", env=env)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)

    @pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
    def test_nginx_passes_pages_and_websockets_on(self, cluster: Cluster, path: Path) -> None:
        cluster.start_relay()
        self.start(cluster, path)
        [port] = free_ports(1)
        directory = path.parent
        # Started by root, it would serve as another user, who may not enter the directory.
        user = "user root;" if os.getuid() == 0 else ""
        (directory / "nginx.conf").write_text(
            NGINX.format(user=user, directory=directory, port=port, path=path)
        )
        command = ("nginx", "-p", str(directory), "-c", "nginx.conf", "-g", "daemon off;")
        nginx = cluster.start("nginx", command)

        def answer() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status
            except OSError:
                return 0
            finally:
                connection.close()

        wait_for(lambda: answer() == 200, f"nginx passes on: {nginx.output()}")
        uri = f"ws://127.0.0.1:{port}/ws?token={cluster.token('alice')}"
        with connect(uri, proxy=None) as client:
            assert '"position"' in str(client.recv(20))
        nginx.signal(signal.SIGQUIT)


NGINX = """
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://unix:{path};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }}
  }}
}}
"""
