"""The table of the scale bench: each line with its bar, of one run. Printed; with ORKHAVEN_BENCH_DOCS it replaces the
table in docs/bench-operator.md too.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs" / "bench-operator.md"
BEGIN, END = "<!-- the bench writes from here -->", "<!-- to here -->"


@dataclass
class ScaleReport:
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
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        DOCS.write_text(f"{before}{BEGIN}\n{self.text()}{END}{after}", encoding="utf-8")
