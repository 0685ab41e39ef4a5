"""The code blocks of a page of documentation."""

import re
from pathlib import Path

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def languages(page: Path) -> list[str]:
    """Return the language of each block, empty for plain text."""
    return [language for language, _ in BLOCK.findall(page.read_text(encoding="utf-8"))]


def snippets(page: Path, language: str) -> list[str]:
    """Return the blocks of a language, in order; the page must have one."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    found = [text for name, text in blocks if name == language]
    assert found, f"{page.name} has no {language}"
    return found


def commands(text: str) -> list[str]:
    """Return the lines of a shell snippet without their comments."""
    lines = (line.partition("   #")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]
