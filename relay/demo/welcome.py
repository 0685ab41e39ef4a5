"""Prints the page's address when the edge is ready: `python -m relay.demo.welcome`."""

import os
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping

import click

from relay.shared.addresses import LOOPBACK, bracketed, parse_listen_address
from relay.shared.config_file import read_config_file
from relay.shared.seconds import SECONDS
from relay.shared.settings import SettingsError, refuse

ASK_AGAIN_AFTER_S = 0.2
ANSWER_WITHIN_S = 2.0


def _in_file(name: str, default: object) -> object:
    """Return the edge's setting `name` in `relay.toml`, else `default`."""
    try:
        return read_config_file().sections.get("edge", {}).get(name, default)
    except SettingsError as error:
        refuse("relay.demo.welcome", error)


def _tls_certificate() -> object:
    return os.environ.get("EDGE_TLS_CERT") or _in_file("tls_cert", None)


@click.command()
@click.option("--host", envvar="EDGE_HOST", default=lambda: _in_file("host", "127.0.0.1"))
@click.option("--port", envvar="EDGE_PORT", type=int, default=lambda: _in_file("port", 8000))
@click.option("--tls/--no-tls", default=lambda: bool(_tls_certificate()), help="Use https.")
@click.option("--timeout", type=SECONDS, default=60.0, help="Seconds to wait for the edge.")
def main(host: str, port: int, tls: bool, timeout: float) -> None:
    """Wait until the edge is ready, then print how to sign in."""
    listening = parse_listen_address(host)
    if listening.path:
        print(f"The edge listens at {listening.url(port)}, for a proxy.", flush=True)
        return
    scheme = "https" if tls else "http"
    url = f"{scheme}://{bracketed(LOOPBACK.get(listening.host, listening.host))}:{port}"
    if not _wait_ready(f"{url}/readyz", timeout):
        print(f"{url} was not ready within {timeout:g} s; see above", file=sys.stderr)
        raise SystemExit(1)
    print(invitation(url), flush=True)


def invitation(url: str, passwords: Mapping[str, str] | None = None) -> str:
    """Return how to sign in at `url`; without `passwords`, they were shown at the first start."""
    if passwords is None:
        how = (
            "sign in as alice, with the password that the first start has shown, or as another"
            " user; `event-edge user passwd alice` sets a new one (with EDGE_DATA_DIR=.run/edge)"
        )
    else:
        users = (f"{user} (password {password})" for user, password in passwords.items())
        how = f"sign in as {' or '.join(users)}"
    return f"Open {url} and {how}; Ctrl-C stops everything."


def _wait_ready(url: str, timeout: float) -> bool:
    """Request `url` until it answers 200."""
    give_up_at = time.monotonic() + timeout
    pause = threading.Event()
    while time.monotonic() < give_up_at:
        if is_ready(url):
            return True
        pause.wait(ASK_AGAIN_AFTER_S)
    return False


def is_ready(url: str) -> bool:
    """Return whether a GET of `url` is answered with 200, whoever has signed the certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_WITHIN_S, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    main()
