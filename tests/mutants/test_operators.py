"""The mutants of small functions, by their changes."""

import ast

import pytest

from tests.mutants.operators import mutants_of


def changes(body: str) -> list[str]:
    """The changes of a function with this body; its one statement is `pass` when removed."""
    return [mutant.change for mutant in mutants_of(f"def f(a, b):\n    {body}\n")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = b < 3", ["b < 3  ->  b <= 3", "3  ->  4"]),
        ("a = b is None", ["b is None  ->  b is not None"]),
        ("a = b and f", ["b and f  ->  b or f"]),
        ("a = not b", ["not b  ->  b"]),
        ("a = b + b", ["b + b  ->  b - b"]),
        ("a = True", ["True  ->  False"]),
        ("a = min(b)", ["min  ->  max"]),
        ("a = b if f else a", ["b if f else a  ->  b if not f else a"]),
        ("a.x = b", ["a.x = b  ->  pass"]),
        ("a += b", ["a += b  ->  a -= b", "a += b  ->  pass"]),
        ("return b", ["return b  ->  return None"]),
        ("raise ValueError(f'{b + 1}')", ["raise ValueError(f'{b + 1}')  ->  pass"]),
        ("a.call(b)", ["a.call(b)  ->  pass"]),
        ("if b: a = f", ["if b:  ->  if not b:"]),
        ("while b < a: break", ["break  ->  continue", "b < a  ->  b <= a"]),
    ],
)
def test_each_operator(body: str, expected: list[str]) -> None:
    assert sorted(changes(body)) == sorted(expected)


@pytest.mark.parametrize(
    "body",
    [
        "'a docstring of 3 words'",
        "assert a < 3",
        "logger.warning('%d', 3)",
        "self._log.warning('cause', 3)",
        "return None",
        "a: int = b",
        "pass",
    ],
)
def test_what_is_not_mutated(body: str) -> None:
    assert changes(body) == []


def test_decorators_defaults_and_module_level_are_left_alone() -> None:
    source = "LIMIT = 3\n@bound(3)\ndef f(a: int = 3) -> int:\n    return a\n"
    assert [mutant.change for mutant in mutants_of(source)] == ["return a  ->  return None"]


def test_a_mutant_differs_in_one_place_and_names_its_outermost_function() -> None:
    source = (
        "class A:\n    def f(self, b):\n        def inner():\n            return b > 1\n"
        "        return inner() == 2\n"
    )
    found = list(mutants_of(source))
    assert {mutant.function for mutant in found} == {"A.f"}
    original = ast.unparse(ast.parse(source)).splitlines()
    for mutant in found:
        changed = ast.unparse(mutant.tree).splitlines()
        differing = [pair for pair in zip(original, changed, strict=True) if pair[0] != pair[1]]
        assert len(differing) == 1, mutant.change
    assert len({ast.unparse(mutant.tree) for mutant in found}) == len(found) == 6
