"""Imports flow one way: words, decisions, shells; and edge and emitters hardly ever meet.

`edge.client` stands between them: it is a client and no part of the server, and imports neither web
framework nor ZeroMQ. `event-emit tail --url` watches an edge through it. In `edge.host.publisher`,
an application's edge emits.
"""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("relay", "edge", "emitters")
PURE_SHARED = (
    "relay.shared.compaction",
    "relay.shared.covering_prefixes",
    "relay.shared.digest_set",
    "relay.shared.kind_counter",
    "relay.shared.last_use",
    "relay.shared.newest",
    "relay.shared.prefix_index",
    "relay.shared.request_table",
)
"""Containers without I/O: the shelf of `relay.shared` that the cores may use."""
WORDS = ("relay.wire", *PURE_SHARED)
EDGE_CORE = {
    "edge.core.websocket": ("stats",),
    "edge.core.identity": (),
    "edge.core.stats": (),
    "edge.core.hub": ("websocket", "identity", "stats"),
    "edge.core.protocol": ("websocket", "identity", "stats"),
    "edge.core.streams": ("websocket", "identity", "stats", "hub", "protocol"),
    "edge.core.presence": ("websocket", "identity", "stats", "hub", "protocol"),
    "edge.core.catch_up": ("websocket", "identity", "stats", "hub", "protocol", "streams"),
    "edge.core": ("websocket", "identity", "stats", "hub", "protocol", "streams", "catch_up"),
}
"""Folder of the edge's core to the folders below it; `session` stands on top of all."""
ALLOWED = {
    "relay.wire": ("relay.wire",),
    **{name: ("relay.wire", "relay.shared.compaction", name) for name in PURE_SHARED},
    "relay.shared": ("relay.wire", "relay.shared"),
    "relay.core": (*WORDS, "relay.core"),
    "relay.zmtp": ("relay.zmtp",),
    "relay.net": ("relay.net", "relay.zmtp", "relay.core", "relay.shared"),
    "relay.journal": ("relay.wire", "relay.shared", "relay.core", "relay.journal", "relay.config"),
    "relay": ("relay",),
    "relay.demo": ("relay.demo", "emitters", "relay.wire", "relay.shared"),
    "relay.testing": ("relay.testing", "emitters", "edge.core.identity", *WORDS),
    **{
        name: (*WORDS, name, *(f"edge.core.{below}" for below in lower))
        for name, lower in EDGE_CORE.items()
    },
    "edge.client.core": ("edge.client.core", "edge.core.websocket.close_codes"),
    "edge.client": ("edge.client", "relay.shared.extras"),
    "edge.scheduling": ("edge.scheduling", "relay.shared.logs", "relay.shared.time_share"),
    "edge.upstream": ("edge.upstream", "edge.core", "edge.config", "relay.wire", "relay.shared"),
    "edge.websocket": ("edge", "relay.wire", "relay.shared"),
    "edge": ("edge", "relay.wire", "relay.shared"),
    "edge.host": ("edge", "relay.wire", "relay.shared"),
    "edge.host.embedded_relay": ("edge", "relay.wire", "relay.shared", "relay.config"),
    "edge.host.publisher": ("edge", "emitters", "relay.wire", "relay.shared"),
    "emitters.core": (*WORDS, "emitters.core", "emitters.errors"),
    "emitters.commands": ("emitters", "edge.client", "relay.wire", "relay.shared"),
    "emitters": ("emitters", "relay.wire", "relay.shared"),
}
"""Package to what of ours it may import; the most specific one counts."""
PURE = (
    "relay.wire",
    *PURE_SHARED,
    "relay.shared.addresses",
    "relay.shared.descriptor_room",
    "relay.core",
    "relay.zmtp",
    "edge.core",
    "edge.client.core",
    "emitters.core",
)
SHELL_MODULES = (
    "asyncio",
    "fastapi",
    "multiprocessing",
    "os",
    "pathlib",
    "psutil",
    "select",
    "socket",
    "starlette",
    "subprocess",
    "threading",
    "time",
    "uvicorn",
    "uvloop",
    "websockets",
    "zmq",
)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
PURE_FILES = sorted(module for module in FILES if any(within(module, name) for name in PURE))


@cache
def nodes(module: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))))


@cache
def imported_by(module: str) -> frozenset[str]:
    return frozenset(_imported_by(module))


def _imported_by(module: str) -> Iterator[str]:
    """The modules that `module` imports, wherever in the file; of ours the defining module."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if inner in FILES else base


def is_ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES


def test_every_package_was_found() -> None:
    """A wrong path must not make these tests pass."""
    assert {module.partition(".")[0] for module in FILES} == set(PACKAGES)
    assert all(
        any(within(module, package) for module in FILES)
        for package in set(ALLOWED) - set(PURE_SHARED)
    )
    assert "relay.wire.header" in imported_by("relay.server")


def test_a_module_imports_only_what_its_package_may() -> None:
    wrong: dict[str, set[str]] = {}
    for module in FILES:
        package = max((name for name in ALLOWED if within(module, name)), key=len)
        # `relay` itself holds the name of the project alone.
        wrong[module] = {
            imported
            for imported in imported_by(module)
            if is_ours(imported)
            and imported != "relay"
            and not any(within(imported, name) for name in ALLOWED[package])
        }
    assert {module: found for module, found in wrong.items() if found} == {}


def test_words_and_decisions_know_no_sockets_files_threads_or_clock() -> None:
    assert {
        (module, imported)
        for module in PURE_FILES
        for imported in imported_by(module)
        if any(within(imported, shell) for shell in SHELL_MODULES)
    } == set()


def test_words_and_decisions_never_await_or_open() -> None:
    waiting = [
        f"{module}:{node.lineno}"
        for module in PURE_FILES
        for node in nodes(module)
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
    ]
    opening = [
        f"{module}:{node.lineno}"
        for module in PURE_FILES
        for node in nodes(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("open", "print", "input")
    ]
    assert (waiting, opening) == ([], [])


def test_imports_have_no_circles() -> None:
    graph = {
        module: {name for name in imported_by(module) if name in FILES and name != module}
        for module in FILES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))
