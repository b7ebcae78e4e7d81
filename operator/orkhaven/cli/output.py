"""How an answer is printed: columns as kubectl's for people, with colour on a terminal; for programs; for papers.

Nothing is cut off where the output is no terminal. NO_COLOR and TERM=dumb are heeded.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TextIO

Row = dict[str, Any]


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"
    LATEX = "latex"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head, the key of a row's value, how a person reads it."""

    head: str
    key: str
    show: Callable[[Any], str] | None = None
    right: bool = False
    colour: bool = False
    """Coloured by what it says: states and reasons."""
    shrink: bool = False
    """May be cut to the terminal's width, where nothing else is."""


@dataclass(frozen=True, slots=True)
class View:
    """A table, and what programs get instead of it."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    data: Any = None
    """For json and yaml; default: the rows, by key."""
    empty: str = "nothing"
    """Said on standard error where there is no row."""
    notes: Sequence[str] = field(default=())
    """Lines for people below the table, on standard error."""


def emit(view: View, form: Format, *, out: TextIO | None = None) -> None:
    out = out or sys.stdout
    if form in (Format.JSON, Format.YAML):
        dump(view.data if view.data is not None else plain(view), form, out=out)
        return
    if form is Format.CSV:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.key for column in view.columns])
        writer.writerows([[_csv(row.get(column.key)) for column in view.columns] for row in view.rows])
        return
    if form is Format.LATEX:
        out.write(latex(view))
        return
    if view.rows:
        out.write(table(view, width=_width(out), colour=coloured(out)))
    else:
        print(view.empty, file=sys.stderr)
    for note in view.notes:
        print(note, file=sys.stderr)


def plain(view: View) -> list[Row]:
    """The rows for a program, a column's key each."""
    return [{column.key: row.get(column.key) for column in view.columns} for row in view.rows]


def dump(data: Any, form: Format, *, out: TextIO | None = None) -> None:
    """JSON or YAML; NaN and infinities, which JSON cannot say, by their names as the hub writes them."""
    out = out or sys.stdout
    data = _sayable(data)
    if form is Format.JSON:
        out.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")
        return
    import yaml

    out.write(yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120))


def _sayable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sayable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


# --- tables ---


def table(view: View, *, width: int | None, colour: bool) -> str:
    """Heads in capitals, three spaces between columns."""
    columns = view.columns
    cells = [[_cell(column, row.get(column.key)) for column in columns] for row in view.rows]
    widths = [
        max(len(column.head), *(len(line[at]) for line in cells)) if cells else len(column.head)
        for at, column in enumerate(columns)
    ]
    if width is not None:
        _squeeze(columns, widths, width)
    lines = [_line(columns, [column.head for column in columns], widths, style="1" if colour else "")]
    lines += [_line(columns, line, widths, style="", colour=colour) for line in cells]
    return "\n".join(lines) + "\n"


def _squeeze(columns: Sequence[Column], widths: list[int], width: int) -> None:
    """Takes from the widest of the columns that may shrink, down to 12 characters."""
    may = [at for at, column in enumerate(columns) if column.shrink]
    while may and sum(widths) + 3 * (len(widths) - 1) > width:
        at = max(may, key=lambda at: widths[at])
        if widths[at] <= max(12, len(columns[at].head)):
            return
        widths[at] -= 1


def _line(
    columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], *, style: str, colour: bool = False
) -> str:
    parts = []
    for at, (column, cell, width) in enumerate(zip(columns, cells, widths, strict=True)):
        if len(cell) > width:
            cell = cell[: width - 1] + "…"
        last = at == len(columns) - 1
        text = cell.rjust(width) if column.right else cell if last else cell.ljust(width)
        code = style or (state_colour(cell) if colour and column.colour else "")
        parts.append(f"\033[{code}m{text}\033[0m" if code else text)
    return "   ".join(parts).rstrip()


_COLOURS = {
    **dict.fromkeys(("Succeeded", "Completed"), "32"),
    **dict.fromkeys(("Failed",), "31"),
    **dict.fromkeys(("Running", "Starting", "Training"), "36"),
    **dict.fromkeys(("Queued", "Pending", "Suspended", "Skipped", "Pruned", "EarlyStopped"), "33"),
}


def state_colour(state: str) -> str:
    """ANSI code of a state; empty for what has none."""
    return _COLOURS.get(state, "")


def _cell(column: Column, value: Any) -> str:
    text = "-" if value is None or value == "" else column.show(value) if column.show else text_of(value)
    return printable(text)


def printable(text: str) -> str:
    """One line, without what would move the cursor: names, messages and parameters are other people's."""
    return "".join(char if char.isprintable() else " " for char in text)


def text_of(value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return str(value)


def number(value: float) -> str:
    """5 significant digits."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _csv(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if isinstance(value, bool) else value


def ago(since: str | None, *, now: datetime) -> str:
    """An age as kubectl writes it: 45s, 12m, 5h, 3d."""
    if not since:
        return "-"
    return span((now - instant(since)).total_seconds())


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def span(seconds: float) -> str:
    """A length of time in its two largest units, as kubectl writes it."""
    left = max(0, int(seconds))
    if left < 120:
        return f"{left}s"
    for size, unit, part_size, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if left >= size:
            whole, rest = divmod(left, size)
            part_of = rest // part_size
            return f"{whole}{unit}{part_of}{part}" if part_of and whole < 10 else f"{whole}{unit}"
    return f"{left}s"


# --- LaTeX ---

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def latex(view: View) -> str:
    """A tabular with booktabs' rules."""
    out = io.StringIO()
    out.write("% needs \\usepackage{booktabs}\n")
    out.write("\\begin{tabular}{" + "".join("r" if c.right else "l" for c in view.columns) + "}\n\\toprule\n")
    out.write(" & ".join(_tex(column.head) for column in view.columns) + " \\\\\n\\midrule\n")
    for row in view.rows:
        out.write(" & ".join(_tex(_cell(column, row.get(column.key))) for column in view.columns) + " \\\\\n")
    out.write("\\bottomrule\n\\end{tabular}\n")
    return out.getvalue()


def _tex(text: str) -> str:
    return "--" if text == "-" else "".join(_LATEX.get(char, char) for char in text)


# --- the terminal ---


def coloured(out: TextIO) -> bool:
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _width(out: TextIO) -> int | None:
    return shutil.get_terminal_size().columns if out.isatty() else None


def live(out: TextIO | None = None) -> bool:
    """Whether a picture can be drawn over the last one."""
    return (out or sys.stdout).isatty() and os.environ.get("TERM") != "dumb"


def redraw(text: str, *, what: str = "sweep", out: TextIO | None = None) -> None:
    """A picture over the last one: what is the same does not flicker. What does not fit is left out, and that is
    said.
    """
    out = out or sys.stdout
    room = max(2, shutil.get_terminal_size().lines - 3)
    lines = text.splitlines()
    if len(lines) > room:
        lines = [*lines[: room - 1], f"({len(lines) - room + 1} more lines: a taller window shows them)"]
    lines += ["", f"(Ctrl-C ends this, not the {what})"]
    # Without wrapping; home; each line, and what the last picture had behind it; what that had below.
    out.write("\033[?7l\033[H" + "".join(f"{line}\033[K\n" for line in lines) + "\033[J\033[?7h")
    out.flush()


def drawn(view: View, out: TextIO | None = None) -> str:
    """As `emit` prints a table for people, notes included, for `redraw`."""
    out = out or sys.stdout
    text = table(view, width=_width(out), colour=coloured(out)) if view.rows else f"{view.empty}\n"
    return text + "".join(f"{note}\n" for note in view.notes)


def bold(text: str, out: TextIO | None = None) -> str:
    return f"\033[1m{text}\033[0m" if coloured(out or sys.stdout) else text


def tinted(state: str, out: TextIO | None = None) -> str:
    """A state in its colour."""
    code = state_colour(state) if coloured(out or sys.stdout) else ""
    return f"\033[{code}m{state}\033[0m" if code else state


def facts(pairs: Sequence[tuple[str, str]], *, indent: str = "  ") -> str:
    """Aligned "name  value" lines; a pair without a value is left out, further lines of a value are indented."""
    shown = [(name, value) for name, value in pairs if value]
    wide = max((len(name) for name, _ in shown), default=0)
    lines = []
    for name, value in shown:
        first, *rest = value.splitlines()
        lines.append(f"{indent}{name.ljust(wide)}  {first}")
        lines += [f"{indent}{' ' * wide}  {line}" for line in rest]
    return "\n".join(lines)
