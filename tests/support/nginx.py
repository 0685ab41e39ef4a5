"""A real nginx in front of an edge."""

import shutil
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, Edge, free_ports
from tests.support.waiting import wait_for

CONFIGURATION = """
daemon off; pid {directory}/pid; error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream edge {{ server 127.0.0.1:{edge_port}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://edge; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
      {directives}
    }}
  }}
}}
"""


def find_nginx() -> str:
    """Return the path of nginx; skip the test without it."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    return nginx


def start_nginx(cluster: Cluster, edge: Edge, directory: Path, directives: str) -> Edge:
    """Return the edge as seen through nginx; skip the test without nginx.

    `directives` are those of its location, such as the headers that it sets.
    """
    nginx = find_nginx()
    (port,) = free_ports(1)
    directory = directory / f"nginx-{port}"
    directory.mkdir()
    configuration = directory / "nginx.conf"
    text = CONFIGURATION.format(
        directory=directory, edge_port=edge.port, port=port, directives=directives
    )
    configuration.write_text(text, encoding="utf-8")
    proxy = cluster.start("nginx", [nginx, "-p", str(directory), "-c", str(configuration)])
    front = Edge(proxy, port, 1)
    # Any answer: it may ask for a password.
    wait_for(lambda: front.status("/healthz") != 0, "nginx answers")
    return front
