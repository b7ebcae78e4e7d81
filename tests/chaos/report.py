"""The chaos report: how often each fault struck, how long until all was right again, what it cost."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.verdict import Ending

PAGE = Path(__file__).resolve().parents[2] / "docs" / "chaos.md"
_BLOCK = re.compile(r"(<!-- the storm writes from here -->\n).*(<!-- to here -->)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """One strike, as it went."""

    fault: str
    after: int
    """Trials that had ended."""
    lasted: float
    """Seconds from the strike until its cause was gone."""
    right: float
    """Seconds from then until all was right again."""
    wrong: tuple[str, ...]
    """What was seen to be wrong in between."""
    requests: int = 0
    """That the proxy let go wrong."""


@dataclass(slots=True, kw_only=True)
class Report:
    seed: int
    trials: int
    calm_seconds: float
    storm_seconds: float
    struck: list[Struck]
    ending: Ending
    restarts: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    """Of the census of processes."""
    together: int = 0
    """Output folders in which processes of two pods were seen at one moment."""
    pods: int = 0

    def text(self) -> str:
        return "\n".join([self._head(), "", *self._table(), "", *self._cost()])

    def _head(self) -> str:
        return (
            f"Seed {self.seed}: {self.trials} trials, {len(self.struck)} strikes. Undisturbed the sweep took "
            f"{self.calm_seconds:.0f} s, in the storm {self.storm_seconds:.0f} s."
        )

    def _table(self) -> list[str]:
        rows = ["| fault | what | struck | lasted, s | right again after, s (longest) |", "|---|---|---|---|---|"]
        for name, fault in FAULTS.items():
            mine = [one for one in self.struck if one.fault == name]
            if not mine:
                continue
            requests = sum(one.requests for one in mine)
            what = f"{fault.what}; {requests} requests" if fault.counted else fault.what
            mean, longest = sum(one.right for one in mine) / len(mine), max(one.right for one in mine)
            lasted = sum(one.lasted for one in mine) / len(mine)
            rows.append(f"| {name} | {what} | {len(mine)} | {lasted:.0f} | {mean:.0f} ({longest:.0f}) |")
        return rows

    def _cost(self) -> list[str]:
        reasons: Counter[str] = Counter()
        words: dict[str, Counter[str]] = defaultdict(Counter)
        for body in self.ending.experiments:
            for attempt in body["status"].get("attempts", ()):
                reasons[str(attempt.get("reason"))] += 1
                # Without what differs from run to run.
                words[str(attempt.get("reason"))][re.sub(r"\b[0-9a-f]{8,}\b", "...", attempt.get("message") or "")] += 1
        completed = reasons.pop("Completed", 0)
        again = sum(curve.again for curve in self.ending.curves.values())
        steps = sum(len(curve.steps) for curve in self.ending.curves.values())
        used = sum(body["status"].get("retriesUsed", 0) for body in self.ending.experiments)
        lost = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "none"
        told = [
            f"    * {reason}: {message or 'nothing said'} ({count})"
            for reason in reasons
            for message, count in words[reason].most_common(3)
        ]
        restarts = ", ".join(f"{name} {count}" for name, count in sorted(self.restarts.items())) or "none"
        return [
            f"* Attempts that did not complete: {lost}; {completed} did. Retries that counted: {used}.",
            *told,
            f"* Steps done once more: {again} of {steps}.",
            f"* {self.pods} training pods; {self.looks} looks at the node's processes found two pods of one run "
            f"{self.together} times.",
            f"* Processes started again by their supervisor: {restarts}.",
        ]


def write(reports: Sequence[Report]) -> None:
    """Into docs/chaos.md."""
    text = "\n\n".join(report.text() for report in reports)
    page = PAGE.read_text()
    assert _BLOCK.search(page), f"{PAGE} has no place for the report"
    PAGE.write_text(_BLOCK.sub(lambda match: f"{match[1]}{text}\n{match[2]}", page))
