"""The measures of the house: sizes, arguments, names, and a test for each file of decisions."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
PACKAGES = ("relay", "edge", "emitters")
MAX_FILE_LINES = 400
MAX_MEDIAN_LINES = 110
MAX_FUNCTION_LINES = 40
MAX_CONSTRUCTOR_ARGUMENTS = 6
DECISIONS = (
    "relay/wire",
    "relay/core",
    "relay/journal",
    "relay/zmtp",
    "relay/shared",
    "edge/core",
    "edge/client/core",
    "emitters/core",
)

FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def functions(path: Path) -> Iterator[Function]:
    return (node for node in nodes(path) if isinstance(node, Function))


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_every_package_was_found() -> None:
    """A wrong path must not make these tests pass."""
    assert {name(path).partition("/")[0] for path in FILES} == set(PACKAGES)


def test_a_file_is_short_enough_to_be_read_at_once() -> None:
    assert {name(path) for path in FILES if lines(path) > MAX_FILE_LINES} == set()


def test_most_files_are_about_one_thing() -> None:
    assert median(map(lines, FILES)) < MAX_MEDIAN_LINES


def test_functions_are_short() -> None:
    assert {
        f"{name(path)}:{each.lineno}": size
        for path in FILES
        for each in functions(path)
        if each.end_lineno is not None
        and (size := each.end_lineno - each.lineno + 1) > MAX_FUNCTION_LINES
    } == {}


def test_constructors_take_few_arguments() -> None:
    assert {
        f"{name(path)}:{each.lineno}": count
        for path in FILES
        for each in functions(path)
        if each.name == "__init__" and (count := arguments(each) - 1) > MAX_CONSTRUCTOR_ARGUMENTS
    } == {}


def arguments(function: Function) -> int:
    given = function.args
    return len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name(path))
    assert {each: found for each, found in places.items() if len(found) > 1} == {}


def decides(path: Path) -> bool:
    """Whether `path` has more than data: a function, apart from constructors and `Protocol`s."""
    return any(
        not isinstance(each.body[-1], ast.Expr) and each.name != "__init__"
        for each in functions(path)
        if ast.get_docstring(each) is None or len(each.body) > 1
    )


def test_each_file_of_decisions_has_its_test() -> None:
    mirrors = [
        ROOT / "tests" / path.relative_to(ROOT).with_name(f"test_{path.name}")
        for path in FILES
        if name(path).startswith(DECISIONS) and path.name != "__init__.py" and decides(path)
    ]
    assert len(mirrors) > 100
    assert [name(mirror) for mirror in mirrors if not mirror.exists()] == []
