"""`make bench` measures all parts; `python -m bench PART…` measures some of them."""

import resource
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

import click

from bench.page import page
from bench.parts import PARTS
from bench.peers.peer import Peer
from bench.report import Section, as_text
from bench.servers import PEERS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def _chosen(_context: click.Context, _option: click.Parameter, value: str) -> dict[str, Peer]:
    names = value.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        raise click.BadParameter(f"{', '.join(unknown)}: there are {', '.join(PEERS)}")
    return {name: PEERS[name] for name in names}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(tuple(PARTS)))
@click.option(
    "--peers", default=",".join(PEERS), callback=_chosen, help="Servers, separated by commas."
)
@click.option("--write", is_flag=True, help=f"Write {PAGE.name} too, as a run of all parts does.")
def main(parts: tuple[str, ...], peers: Mapping[str, Peer], write: bool) -> None:
    """Measure PARTS, by default all."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # The servers inherit it.
    began = time.monotonic()
    sections: list[Section] = []
    failed: list[str] = []
    for name in parts or PARTS:
        try:
            section = PARTS[name](peers)
        except Exception:  # noqa: BLE001 - the other parts can still be measured
            traceback.print_exc()
            failed.append(name)
            continue
        print(as_text(section), flush=True)
        sections.append(section)
    if write or not parts:
        command = " ".join(("python -m bench", *sys.argv[1:])) if sys.argv[1:] else "make bench"
        seconds = time.monotonic() - began
        PAGE.write_text(page(command, seconds, peers, sections, failed))
        print(f"written to {PAGE}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
