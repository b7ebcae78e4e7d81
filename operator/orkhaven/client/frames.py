"""pandas and matplotlib, imported when they are needed, with a sentence where they are not there."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orkhaven.client.errors import MissingPackage

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def need(package: str) -> Any:
    """The module. Raises MissingPackage, which says how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        name = package.partition(".")[0]
        raise MissingPackage(
            f"this needs {name}, which cannot be imported: {error}",
            hint=f"pip install 'orkhaven[notebook]', or pip install {name}",
        ) from error


def frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """With these columns also where there is no row."""
    pandas = need("pandas")
    made: pd.DataFrame = pandas.DataFrame([dict(row) for row in rows], columns=list(columns))
    return made


def number(value: Any) -> float | None:
    """What the hub writes for a number: "NaN" and the infinities are texts in JSON."""
    return None if value is None else float(value)


def draw_curves(
    curves: pd.DataFrame, *, metric: str, axis: str, labels: Mapping[str, str], ax: Axes | None = None
) -> Axes:
    """One line for each experiment, the best first and darkest."""
    pyplot = need("matplotlib.pyplot")
    if ax is None:
        _, made = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
        ax = made
    assert ax is not None
    names = list(dict.fromkeys(curves["experiment"]))
    # viridis without its lightest fifth, which is hard to see on white.
    shades = pyplot.get_cmap("viridis")
    for place, name in enumerate(names):
        own = curves[curves["experiment"] == name]
        colour = shades(0.8 * place / max(1, len(names) - 1))
        ax.plot(own[axis], own["value"], color=colour, label=labels.get(name, name), linewidth=1.6)
    ax.set_xlabel("seconds" if axis == "time" else axis)
    ax.set_ylabel(metric)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    if names:
        ax.legend(fontsize="small", frameon=False)
    else:
        ax.text(0.5, 0.5, f"no run has reported {metric}", ha="center", va="center", transform=ax.transAxes)
    return ax
