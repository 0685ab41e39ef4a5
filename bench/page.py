"""`docs/benchmarks.md`: every section of one run, with its machine and the servers' versions."""

import os
import platform
import time
from collections.abc import Mapping, Sequence

from bench.peers.peer import Peer
from bench.report import Section, as_markdown, target_line


def page(
    command: str,
    seconds: float,
    peers: Mapping[str, Peer],
    sections: Sequence[Section],
    failed: Sequence[str],
) -> str:
    """Return the page in Markdown; `failed` names the parts without a section."""
    blocks = [_head(command, seconds), _versions(peers), _targets(sections)]
    if failed:
        blocks.append(f"These parts failed: {', '.join(failed)}.\n")
    return "\n".join([*blocks, *(as_markdown(section) for section in sections)])


def _head(command: str, seconds: float) -> str:
    return f"""# Benchmarks

`{command}`, {time.strftime("%Y-%m-%d")}, {seconds / 60:.1f} minutes, on {os.cpu_count()} cores of
{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}.
Servers, clients and publishers share the machine. Ratios carry over to other machines, absolute
numbers do not.

Every server gets the same events from a publisher in a process of its own: Event Relay from an
`Emitter` through the relay and its journal, the others over their own protocol or as lines on a
socket. The clients are raw sockets in one more process, which checks that each of them gets every
event, once and in order. Delays are measured from publishing to receipt. The limit is a loop over
`send()` in C that does nothing else.
"""


def _versions(peers: Mapping[str, Peer]) -> str:
    lines = []
    for peer in peers.values():
        missing = peer.missing()
        text = f"not measured; install it with `{missing}`" if missing else peer.version()
        lines.append(f"- {peer.name}{': ' if text else ''}{text}")
    return "\n".join(lines) + "\n"


def _targets(sections: Sequence[Section]) -> str:
    lines = [
        f"- {section.title}: {target_line(target)}"
        for section in sections
        for target in section.targets
    ]
    return "\n".join(("## Targets", "", *lines)) + "\n"
