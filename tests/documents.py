"""What the documentation shows to be typed: the lines of its `sh` blocks. Used by the tests that run them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STORY = ROOT / "docs" / "failures.md"
"""Its sweep is applied and its lines are typed by tests/e2e/test_failures.py."""
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md")))


def blocks(kind: str, page: Path) -> list[str]:
    """The page's code blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(program: str, pages: Sequence[Path] = PAGES) -> list[str]:
    """Each line of an `sh` block that starts with `program`, once, without its comment."""
    found: dict[str, None] = {}
    for page in pages:
        for block in blocks("sh", page):
            for line in block.splitlines():
                text = re.sub(r"\s+# .*", "", line).strip()
                if text.split(" ")[0] == program:
                    found[text] = None
    return list(found)


def programs() -> set[str]:
    """The first words of all lines."""
    shown = (block for page in PAGES for block in blocks("sh", page))
    return {line.split(" ")[0] for block in shown for line in block.splitlines() if line.strip()}
