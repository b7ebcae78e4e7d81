"""`Sweep`: a sweep and its trials as a Python object, tables as DataFrames."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orkhaven.client.board import REPEATS, Board, board_from_hub, board_of, flatten
from orkhaven.client.errors import Invalid, NoHub, NoToken
from orkhaven.client.frames import draw_curves, frame, number
from orkhaven.client.kube import Body
from orkhaven.client.resource import MANAGER, Resource
from orkhaven.client.wire import segment

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Sweep(Resource):
    """A sweep and its trials."""

    def wait(self, timeout: float | None = None) -> Sweep:
        """Returns when it has ended, however. `timeout` in seconds. Raises TimedOut."""
        self._wait(timeout)
        return self

    def leaderboard(
        self, metric: str | None = None, *, filter: str | None = None, sort: str | None = None, k: int | None = None
    ) -> pd.DataFrame:
        """Trials, best first: value and step of the objective (or of `metric`), and the parameters that vary.

        `filter`: an expression such as `state == "Succeeded" and params.optimizer.lr < 1e-3`; `sort`: a column, "-"
        before it for from large to small; `k`: the first so many.
        """
        rows = self.rows(metric, filter=filter, sort=sort, k=k)
        return frame(rows, list(rows[0]) if rows else ["experiment", "state", metric or self._metric, "step"])

    def rows(
        self, metric: str | None = None, *, filter: str | None = None, sort: str | None = None, k: int | None = None
    ) -> list[dict[str, Any]]:
        """The leaderboard where there is no pandas: a dictionary for each trial."""
        board = self._board(metric, filter=filter, sort=sort, k=k)
        return [
            {
                "experiment": row["experiment"],
                "state": row["state"],
                board.metric: number(row["value"]),
                "step": row["step"],
                **{part: number(row[part]) for part in REPEATS if board.has_repeats},
                **{name: row[f"params.{name}"] for name in board.params},
            }
            for row in board.rows
        ]

    @property
    def _metric(self) -> str:
        return str(self._body["spec"]["objective"]["metric"])

    def _board(self, metric: str | None, *, filter: str | None, sort: str | None, k: int | None) -> Board:
        self.refresh()
        try:
            hub = self._client.hub
            return board_from_hub(hub, self._body, metric=metric, expression=filter, sort=sort, count=k)
        except (NoHub, NoToken) as error:
            if filter is not None:
                raise
            warnings.warn(f"from the status of the Experiments: {error}", stacklevel=3)
            return board_of(self._body, self._trials(), metric=metric, sort=sort, count=k)

    def _trials(self) -> list[Body]:
        labels = f"orkhaven.io/sweep={self.name}"
        return list(self._client.kube.each("Experiment", namespace=self.namespace, labels=labels))

    def experiments(self) -> pd.DataFrame:
        """Every trial made so far, in order: state, reason, best value, all parameters, every metric in its status."""
        trials = sorted(self._trials(), key=_trial_number)
        rows = [_trial_row(body) for body in trials]
        columns = dict.fromkeys(name for row in rows for name in row)
        order = sorted(columns, key=lambda name: name.startswith(("params.", "metrics.")))
        return frame(rows, order or ["experiment", "state", "reason", "value", "step"])

    def failures(self) -> pd.DataFrame:
        """Causes of failure: how many trials, what they said, which, what to do."""
        clusters = self.status.get("failureClusters") or []
        rows = [{**one, "correlates": "; ".join(c["text"] for c in one.get("correlates") or ())} for one in clusters]
        return frame(rows, ("reason", "count", "message", "samples", "suggestion", "id", "signature", "correlates"))

    def rerun(
        self,
        *,
        clusters: Sequence[str] = (),
        reasons: Sequence[str] = (),
        names: Sequence[str] = (),
        match: Mapping[str, Sequence[Any]] | None = None,
        set: Mapping[str, Any] | None = None,
        image: str | None = None,
        env: Mapping[str, str] | None = None,
        from_scratch: bool = False,
        id: str | None = None,
        dry_run: bool = False,
    ) -> list[str]:
        """Failed trials once more, each in its place: the names of those that failed. Nothing selected: all of them.

        `clusters`, `reasons`: as `failures()` shows them; `match`: dotted parameter -> values. `set`: what is changed,
        resources.memory and the like or parameters. The same run goes on from its checkpoint unless `from_scratch`.
        `id`: done once; default: from the day and what is asked for, so that a cell that is run twice asks once.
        """
        from orkhaven.client.rerun import ask, entry_of, taken_in

        self.refresh()
        kube, today = self._client.kube, datetime.now(UTC).date()
        entry = entry_of(
            day=today,
            clusters=clusters,
            reasons=reasons,
            names=names,
            match=match,
            set=set,
            image=image,
            env=env,
            from_scratch=from_scratch,
            id=id,
        )
        found = taken_in(kube, self._body, entry)
        if not found or dry_run:
            return found
        asked = ask(kube, self._body, entry, manager=MANAGER)
        if asked is None:
            return []
        self._body = asked
        return found

    def reruns(self) -> pd.DataFrame:
        """What became of the reruns."""
        columns = ("id", "time", "selected", "created", "done", "succeeded", "failed", "message")
        return frame(self.status.get("reruns") or [], columns)

    def curves(
        self,
        metric: str | None = None,
        *,
        experiments: Sequence[str] | None = None,
        top: int = 10,
        filter: str | None = None,
        axis: str = "step",
        points: int = 1500,
    ) -> pd.DataFrame:
        """Learning curves, one row for each point: experiment, step (or epoch, or time in seconds), value.

        Of `experiments`, else of the `top` best that `filter` fits. From the hub.
        """
        if axis not in ("step", "epoch", "time"):
            raise Invalid(f"axis {axis!r}: step, epoch or time")
        shown = metric or self._metric
        answer = self._client.hub.get(
            f"{segment(self.namespace)}/sweeps/{segment(self.name)}/curves",
            metric=shown,
            experiment=list(experiments) if experiments else None,
            top=top,
            filter=filter,
            x=axis,
            points=points,
        )
        rows = [
            {"experiment": curve["experiment"], axis: x, "value": float("nan") if y is None else number(y)}
            for curve in answer["curves"]
            for x, y in zip(curve["x"], curve["y"], strict=True)
        ]
        return frame(rows, ("experiment", axis, "value"))

    def plot(
        self,
        metric: str | None = None,
        *,
        experiments: Sequence[str] | None = None,
        top: int = 10,
        filter: str | None = None,
        axis: str = "step",
        ax: Axes | None = None,
    ) -> Axes:
        """The learning curves, labelled by the parameters that vary; the axes, to go on with."""
        shown = metric or self._metric
        curves = self.curves(shown, experiments=experiments, top=top, filter=filter, axis=axis)
        return draw_curves(curves, metric=shown, axis=axis, labels=self._labels(set(curves["experiment"])), ax=ax)

    def _labels(self, names: set[str]) -> dict[str, str]:
        """By what tells them apart: short parameter names and their values."""
        board = board_of(self._body, [body for body in self._trials() if body["metadata"]["name"] in names])
        labels = {}
        for row in board.rows:
            parts = [(name.rsplit(".", 1)[-1], row[f"params.{name}"]) for name in board.params]
            told = ", ".join(f"{name}={value}" for name, value in parts if value is not None)
            labels[row["experiment"]] = told or row["experiment"]
        return labels


def _trial_number(body: Body) -> tuple[int, str]:
    trial = (body["metadata"].get("labels") or {}).get("orkhaven.io/trial", "")
    return (int(trial) if trial.isdigit() else 0, body["metadata"]["name"])


def _trial_row(body: Body) -> dict[str, Any]:
    status = body.get("status") or {}
    objective = status.get("objective") or {}
    metrics = status.get("metrics") or {}
    return {
        "experiment": body["metadata"]["name"],
        "state": status.get("state"),
        "reason": status.get("reason"),
        "value": objective.get("value"),
        "step": objective.get("step"),
        "gpu_seconds": status.get("gpuSeconds"),
        **{f"params.{name}": value for name, value in flatten(body["spec"].get("params") or {}).items()},
        **{f"metrics.{name}": (one or {}).get("best") for name, one in metrics.items()},
    }
