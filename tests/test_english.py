"""Docstrings and documents name their subject: none opens with a pronoun in place of a noun."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = sorted(
    path
    for folder in ("relay", "edge", "emitters", "bench", "release", "tests")
    for path in (ROOT / folder).rglob("*.py")
)
MARKDOWN = sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
OPENS_WITH_A_PRONOUN = re.compile(r"(?:What|Who|Whoever|Whom|Whose)\b")
PARAGRAPH = re.compile(r"[-*>#\d.|\s`*_]*")
"""The marks before the first word of a paragraph, list item, heading or table row."""
MARKED = re.compile(r"\s*(?:[-*>#|]|\d+\.)")
"""The begin of a list item, quotation, heading or table row."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string that documents a module, class, function or attribute.

    An attribute has no docstring to Python: it is a string that follows an assignment.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield node.lineno, text


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and first words of each paragraph, list item, heading and table row."""
    is_code, follows_a_gap = False, True
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif line.strip() and not is_code and (follows_a_gap or MARKED.match(line)):
            yield number, PARAGRAPH.sub("", line, count=1)
        follows_a_gap = not line.strip() or line.lstrip().startswith("```")


def test_no_docstring_opens_with_a_pronoun() -> None:
    assert [
        f"{name_of(path)}:{line}: {text[:60]}"
        for path in PYTHON
        for line, text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        if OPENS_WITH_A_PRONOUN.match(text.lstrip())
    ] == []


def test_no_paragraph_opens_with_a_pronoun() -> None:
    assert [
        f"{name_of(path)}:{line}: {text[:60]}"
        for path in MARKDOWN
        for line, text in paragraphs(path.read_text(encoding="utf-8"))
        if OPENS_WITH_A_PRONOUN.match(text)
    ] == []


def test_every_kind_of_docstring_is_found() -> None:
    source = '''
"""Module."""
LIMIT = 1
"""Constant."""
class A:
    """Class."""
    size: int
    """Field."""
    def f(self) -> None:
        """Method."""
        self.x = 1
        """Attribute."""
        if self.x:
            self.y = 2
            """Nested."""
'''
    found = {text for _, text in docstrings(ast.parse(source))}
    assert found == {
        "Module.",
        "Constant.",
        "Class.",
        "Field.",
        "Method.",
        "Attribute.",
        "Nested.",
    }


def test_every_paragraph_is_found() -> None:
    text = (
        "First\ncontinued.\n\n- **Item**\n1. Step\n| cell | x |\n## Head\n\n```\ncode\n```\nAfter"
    )
    assert [words for _, words in paragraphs(f"\n{text}")] == [
        "First",
        "Item**",
        "Step",
        "cell | x |",
        "Head",
        "After",
    ]
