"""What a person reads of replays: a table, one column for each policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orkhaven.api import Priority
from orkhaven.simulate.measure import Measured

Row = tuple[str, Callable[[Measured], str]]


def table(results: Sequence[Measured]) -> str:
    """As Markdown."""
    rows: list[Row] = [
        ("utilisation, of what any schedule could use", lambda r: f"{r.utilisation:.3f}"),
        ("fairness (Jain) of weighted shares, of those always waiting", _fairness),
        *(row for priority in Priority for row in _waits(priority)),
        ("longest that a namespace in line saw none of its own start", lambda r: duration(r.longest_turn)),
        ("preemptions", lambda r: f"{r.preemptions:,}"),
        ("work lost to preemption", lambda r: f"{r.lost:.2%}"),
    ]
    if any(result.unfinished for result in results):
        rows.append(("never started", lambda r: f"{r.unfinished:,}"))
    first = results[0]
    lines = [f"{first.runs:,} runs" + (f", {first.fits_no_node:,} fit no node" if first.fits_no_node else ""), ""]
    lines.append("| | " + " | ".join(result.policy for result in results) + " |")
    lines.append("|---|" + "---|" * len(results))
    lines += [f"| {title} | " + " | ".join(say(result) for result in results) + " |" for title, say in rows]
    return "\n".join(lines)


def _fairness(result: Measured) -> str:
    if result.fairness is None:
        return f"- (of {result.always_waiting})"
    return f"{result.fairness:.3f} (of {result.always_waiting})"


def _waits(priority: Priority) -> list[Row]:
    def say(result: Measured) -> str:
        waits = result.waits[priority]
        return (
            " / ".join(duration(seconds) for seconds in (waits.p50, waits.p95, waits.longest)) if waits.count else "-"
        )

    return [(f"wait of {priority}, p50 / p95 / longest", say)]


def duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
