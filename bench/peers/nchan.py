"""nchan: publish and subscribe in nginx, in C; publishers send events by HTTP POST."""

import getpass
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.load.dialect import PlainDialect
from bench.load.payload import event_text
from bench.load.publisher import Send
from bench.peers.peer import Server
from bench.peers.programs import find_program, program, program_version, run_program
from tests.support.cluster import free_ports

MODULE = "ngx_nchan_module.so"
MODULE_DIRECTORIES = ("/usr/lib/nginx/modules", "/usr/share/nginx/modules")

CONFIGURATION = """
load_module {module};
user {user};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  keepalive_requests 100000000;
  nchan_shared_memory_size 512M;
  server {{
    listen 127.0.0.1:{port};
    location = /publish {{
      nchan_publisher;
      nchan_channel_id bench;
      nchan_message_buffer_length 10000;
      nchan_message_timeout 60s;
    }}
    location = /subscribe {{
      nchan_subscriber websocket;
      nchan_channel_id bench;
      nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


class Nchan:
    """One worker, with memory for the pending messages of slow clients."""

    name = "nchan"

    def missing(self) -> str | None:
        """See `Peer`."""
        if find_program("nginx") and _module():
            return None
        return "apt-get install nginx libnginx-mod-nchan"

    def version(self) -> str:
        """See `Peer`."""
        return f"on nginx {program_version('nginx', '-v')}"

    @contextmanager
    def run(self, directory: Path, clients: int) -> Iterator[Server]:
        """See `Peer`."""
        [port] = free_ports(1)
        configuration = directory / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(
                module=_module(), user=getpass.getuser(), directory=directory, port=port
            )
        )
        command = (program("nginx"), "-p", str(directory), "-c", str(configuration))
        with run_program(self.name, command, "start worker process ") as pid:
            yield Server(
                PlainDialect(port, "/subscribe"), partial(_make_send, port), {"server": pid}
            )


def _module() -> Path | None:
    found = (Path(directory) / MODULE for directory in MODULE_DIRECTORIES)
    return next((path for path in found if path.exists()), None)


def _make_send(port: int) -> Send:
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def send(number: int) -> None:
        connection.request("POST", "/publish", event_text(number))
        response = connection.getresponse()
        response.read()
        assert response.status in (201, 202), f"nchan answers {response.status}"

    return send
