"""`event-relay demo`: everything on this machine, with two managers at work, to look at."""

import signal
import subprocess

import click

from relay.shared.console import interrupt_once
from relay.shared.extras import require_extra

READY_WITHIN_S = 60.0


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the page. Without it: a free one."
)
def demo(port: int | None) -> None:
    """Show the page: runs a relay, an edge and two managers of small servers.

    Everything is in a temporary directory, which is removed at the end, and no setting counts.
    """
    require_extra("event-relay demo", "edge")
    # Not at the top: the relay needs none of it.
    from relay.demo.cluster import DemoCluster, PartError
    from relay.demo.welcome import invitation

    signal.signal(signal.SIGTERM, interrupt_once)
    try:
        click.echo("Starting a relay, an edge and two managers…")
        with DemoCluster(port) as cluster:
            if not cluster.wait_ready(READY_WITHIN_S):
                raise click.ClickException(f"{cluster.url} was not ready in time")
            click.echo(invitation(cluster.url, cluster.passwords))
            cluster.wait()
    except KeyboardInterrupt:
        return
    except PartError as error:
        # It has said why, and a setting that it refused is one of this command.
        click.echo(f"event-relay demo: {error}", err=True)
        raise SystemExit(2 if error.exit_code == 2 else 1) from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise click.ClickException(str(error)) from None
