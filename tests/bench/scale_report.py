"""A table of docs/bench-operator.md: each line with its bar, of one run. Printed; with ORKHAVEN_BENCH_DOCS it replaces
the one that is there.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs" / "bench-operator.md"
END = "<!-- to here -->"


@dataclass
class ScaleReport:
    name: str
    """Of its place in the page."""
    lines: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, what: str, bar: str, found: str) -> None:
        self.lines.append((what, bar, found))
        print(f"\n{what}: {found} (bar: {bar})", flush=True)

    def text(self) -> str:
        cores, memory = os.cpu_count(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        machine = f"{cores} cores, {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"
        rows = "\n".join(f"| {what} | {bar} | {found} |" for what, bar, found in self.lines)
        return f"{machine}.\n\n| what | bar | measured |\n|---|---|---|\n{rows}\n"

    def write(self) -> None:
        text = DOCS.read_text(encoding="utf-8")
        begin = f"<!-- the bench {self.name} writes from here -->"
        before, rest = text.split(begin)
        DOCS.write_text(f"{before}{begin}\n{self.text()}{END}{rest.split(END, 1)[1]}", encoding="utf-8")


def reported(name: str) -> Iterator[ScaleReport]:
    """For a fixture: the table, printed and, where that is wished, written at the end."""
    made = ScaleReport(name)
    yield made
    print(f"\n{made.text()}")
    if os.environ.get("ORKHAVEN_BENCH_DOCS"):
        made.write()
