"""The results of a part of the benchmark, as text for the terminal and as Markdown."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

LINE = 100
"""Characters in a line of prose."""


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first column is text, the others are numbers."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    notes: tuple[str, ...] = ()
    """Faults, and explanations of numbers."""


@dataclass(frozen=True)
class Target:
    """A target and the value that was reached."""

    text: str
    reached: str
    is_met: bool


@dataclass(frozen=True)
class Section:
    """One question and its results."""

    title: str
    method: str
    tables: tuple[Table, ...]
    targets: tuple[Target, ...] = ()


def as_text(section: Section) -> str:
    """Return lines for the terminal."""
    blocks = [f"{section.title}\n{_fill(section.method)}"]
    blocks += [_with_notes(_text_table(table), table) for table in section.tables]
    if section.targets:
        blocks.append("\n".join(f"target: {target_line(target)}" for target in section.targets))
    return "\n\n".join(blocks) + "\n"


def as_markdown(section: Section) -> str:
    """Return a part of the page."""
    blocks = [f"## {section.title}", _fill(section.method)]
    blocks += [_with_notes(_markdown_table(table), table) for table in section.tables]
    if section.targets:
        blocks.append("\n".join(f"- {target_line(target)}" for target in section.targets))
    return "\n\n".join(blocks) + "\n"


def target_line(target: Target) -> str:
    """Return the target, the value that was reached, and the verdict."""
    return f"{target.text}: {target.reached}, {'met' if target.is_met else 'MISSED'}"


def _with_notes(table: str, source: Table) -> str:
    return "\n\n".join((table, *(_fill(note) for note in source.notes)))


def _fill(prose: str) -> str:
    return textwrap.fill(prose, LINE, break_long_words=False, break_on_hyphens=False)


def _text_table(table: Table) -> str:
    lines = [table.columns, *table.rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _markdown_table(table: Table) -> str:
    rule = ("---", *("---:" for _ in table.columns[1:]))
    return "\n".join(f"| {' | '.join(line)} |" for line in (table.columns, rule, *table.rows))
