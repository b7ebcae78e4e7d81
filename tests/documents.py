"""What the documentation shows to be typed: the lines of its `sh` blocks. Used by the tests that run them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md")))


def commands(program: str, pages: Sequence[Path] = PAGES) -> list[str]:
    """Each line of an `sh` block that starts with `program`, once, without its comment."""
    found: dict[str, None] = {}
    for page in pages:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                text = re.sub(r"\s+# .*", "", line).strip()
                if text.split(" ")[0] == program:
                    found[text] = None
    return list(found)


def programs() -> set[str]:
    """The first words of all lines."""
    blocks = (block for page in PAGES for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S))
    return {line.split(" ")[0] for block in blocks for line in block.splitlines() if line.strip()}
