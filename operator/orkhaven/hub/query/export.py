"""Lists as files: CSV for spreadsheets and data frames, LaTeX (booktabs) for papers. Pure; made piece by piece."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

PIECE = 500
"""Rows in one piece."""
SIGNIFICANT = 4
"""Digits of a number in LaTeX; CSV has all of them."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the start of a formula, at the start of a text; the wide ones in Japanese."""
_QUOTED = frozenset(',;"\t\r\n')
"""A text with one of these stands in quotes. `;` and a tab part cells where a spreadsheet's language says so: what is
behind one would be a cell of its own, with a formula of its own.
"""
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
    }
)

Row = Mapping[str, Any]
_ENDED = "\r\n"


def to_csv(keys: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """RFC 4180, the keys as its first line; nothing for what is missing. A text that a spreadsheet would run as a
    formula gets a ' before it.
    """
    lines = [",".join(_csv_text(key) for key in keys)]
    for row in rows:
        lines.append(",".join(_csv(row.get(key)) for key in keys))
        if len(lines) >= PIECE:
            yield _ENDED.join((*lines, ""))
            lines = []
    yield _ENDED.join((*lines, ""))


def to_latex(columns: Sequence[tuple[str, str]], rows: Iterable[Row]) -> Iterator[str]:
    """A tabular with booktabs' rules, of columns (key, label). Numbers stand to the right, as the first rows say."""
    iterator = iter(rows)
    first = [row for _, row in zip(range(PIECE), iterator, strict=False)]
    aligned = "".join("r" if _is_numeric(key, first) else "l" for key, _ in columns)
    yield (
        "% needs \\usepackage{booktabs}\n"
        f"\\begin{{tabular}}{{{aligned}}}\n\\toprule\n"
        + " & ".join(latex_text(label) for _, label in columns)
        + " \\\\\n\\midrule\n"
    )
    yield "".join(_latex_row(columns, row) for row in first)
    for row in iterator:
        yield _latex_row(columns, row)
    yield "\\bottomrule\n\\end{tabular}\n"


def latex_text(text: str) -> str:
    """With nothing left that LaTeX would take for more than text."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.translate(_LATEX)


def _latex_row(columns: Sequence[tuple[str, str]], row: Row) -> str:
    return " & ".join(_latex(row.get(key)) for key, _ in columns) + " \\\\\n"


def _latex(value: Any) -> str:
    if value is None:
        return "--"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else r"$\infty$" if value > 0 else r"$-\infty$"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        mantissa, _, exponent = f"{value:.{SIGNIFICANT}g}".partition("e")
        if exponent:
            return rf"${mantissa} \times 10^{{{int(exponent)}}}$"
        return f"${mantissa}$" if value < 0 else mantissa
    if isinstance(value, int):
        return f"${value}$" if value < 0 else str(value)
    return latex_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _is_numeric(key: str, rows: Sequence[Row]) -> bool:
    values = [value for row in rows if (value := row.get(key)) is not None]
    return bool(values) and all(isinstance(value, float | int) and not isinstance(value, bool) for value in values)


def _csv(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isfinite(value):
            return repr(value)
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int):
        return str(value)
    return _csv_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _csv_text(text: str) -> str:
    if text.startswith(_FORMULA):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if not _QUOTED.isdisjoint(text) else text
