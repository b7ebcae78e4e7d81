"""`Orkhaven`: sweeps and runs as Python objects, tables as DataFrames.

    from orkhaven.client import Orkhaven

    covid = Orkhaven().sweep("covid")
    covid.leaderboard()
    covid.plot()

What the resources' status answers comes from the API server, with the user's own rights. Curves, filters and what goes
beyond 32 metrics of a run come from the hub.
"""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orkhaven.client.board import Board, board_from_hub, board_of, flatten
from orkhaven.client.connect import Target, connect
from orkhaven.client.errors import Invalid, NoHub, NoToken, OrkhavenError
from orkhaven.client.frames import draw_curves, frame, number
from orkhaven.client.hub import Hub, open_hub, segment
from orkhaven.client.kube import Body, Kube
from orkhaven.client.manifest import Setting, changed, problems, read
from orkhaven.client.tokens import TokenChoice, token_of
from orkhaven.client.waiting import finished, holds, line, until

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MANAGER = "orkhaven-client"


class Orkhaven:
    """One cluster and one namespace in it, as kubectl knows them.

    `namespace`, `context`, `kubeconfig`: as kubectl's options; default: what kubectl would use. In a pod without
    kubectl: its service account. `hub`: "namespace/service" or a URL; default: ORKHAVEN_HUB, else
    orkhaven-system/orkhaven-hub. `token`, `service_account`: what is shown to the hub; default: the user's own token.
    """

    def __init__(
        self,
        namespace: str | None = None,
        *,
        context: str | None = None,
        kubeconfig: str | Path | None = None,
        hub: str | None = None,
        token: str | None = None,
        service_account: str | None = None,
    ) -> None:
        self._target = Target(
            namespace=namespace, context=context, kubeconfig=str(kubeconfig) if kubeconfig is not None else None
        )
        self._place = hub
        self._choice = TokenChoice(token=token, service_account=service_account)
        self._stack = ExitStack()
        # A notebook rarely closes anything.
        weakref.finalize(self, self._stack.close)

    def __enter__(self) -> Orkhaven:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    @functools.cached_property
    def kube(self) -> Kube:
        """The API server; opened when it is first needed."""
        return self._stack.enter_context(connect(self._target))

    @functools.cached_property
    def hub(self) -> Hub:
        """The hub; opened when it is first needed. Raises NoHub."""
        target, choice, namespace = self._target, self._choice, self.namespace
        return self._stack.enter_context(
            open_hub(target, lambda: token_of(target, choice, namespace=lambda: namespace), place=self._place)
        )

    @property
    def namespace(self) -> str:
        return self.kube.namespace

    # --- what there is ---

    def sweep(self, name: str) -> Sweep:
        """Raises NotFound."""
        return Sweep(self, self.kube.get("Sweep", name))

    def experiment(self, name: str) -> Experiment:
        """Raises NotFound."""
        return Experiment(self, self.kube.get("Experiment", name))

    def sweeps(self) -> pd.DataFrame:
        """Name, state, trials, best value and age of each sweep of the namespace."""
        rows = []
        for body in self.kube.each("Sweep"):
            status = body.get("status") or {}
            best, trials = status.get("best") or {}, status.get("trials") or {}
            rows.append(
                {
                    "name": body["metadata"]["name"],
                    "state": status.get("state"),
                    **{key: trials.get(key, 0) for key in _TRIALS},
                    "best": best.get("value"),
                    "best_experiment": best.get("experiment"),
                    "objective": body["spec"]["objective"]["metric"],
                    "gpu_hours": (status.get("gpuHours") or {}).get("total"),
                    "created": body["metadata"].get("creationTimestamp"),
                }
            )
        columns = ("name", "state", *_TRIALS, "best", "best_experiment", "objective", "gpu_hours", "created")
        return frame(rows, columns)

    # --- what is to be ---

    def submit(
        self, source: str | Path | Body, *, set: Mapping[str, Any] | None = None, force: bool = False
    ) -> Sweep | Experiment:
        """Applies a Sweep or an Experiment: a path, YAML text, or the object itself; checked before it is sent.

        `set`: dotted names and values: one value fixes a parameter, a list of several is searched. Raises Invalid with
        all that is wrong.
        """
        body = changed(_one(source), [_setting(name, value) for name, value in (set or {}).items()])
        wrong = problems(body)
        if wrong:
            raise Invalid("this would be refused, so nothing was sent:\n" + "\n".join(f"  {one}" for one in wrong))
        body["metadata"].setdefault("namespace", self.namespace)
        applied = self.kube.apply(body, manager=MANAGER, force=force)
        return Sweep(self, applied) if applied["kind"] == "Sweep" else Experiment(self, applied)


_TRIALS = ("total", "succeeded", "failed", "running", "queued", "suspended")


def _one(source: str | Path | Body) -> Body:
    if isinstance(source, Mapping):
        return dict(source)
    text = str(source)
    if isinstance(source, Path) or "\n" not in text:
        try:
            bodies = read(Path(source).read_text(), name=text)
        except OSError as error:
            raise Invalid(f"{text}: {error.strerror}") from error
    else:
        bodies = read(text, name="the text")
    if len(bodies) != 1:
        raise Invalid(f"{len(bodies)} objects are in it: submit them one by one")
    return bodies[0]


def _setting(name: str, value: Any) -> Setting:
    return Setting(name, value if isinstance(value, list) else [value])


class _Object:
    """What Sweep and Experiment share."""

    def __init__(self, client: Orkhaven, body: Body) -> None:
        self._client = client
        self._body = body

    @property
    def name(self) -> str:
        return str(self._body["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self._body["metadata"]["namespace"])

    @property
    def spec(self) -> Body:
        return dict(self._body["spec"])

    @property
    def status(self) -> Body:
        """As it is now."""
        self.refresh()
        return self._body.get("status") or {}

    @property
    def state(self) -> str:
        return str(self.status.get("state") or "Pending")

    def refresh(self) -> None:
        """Reads it again."""
        self._body = self._client.kube.get(self._body["kind"], self.name, namespace=self.namespace)

    def suspend(self) -> None:
        """Checkpoints are saved, the GPUs are given back."""
        self._patch({"suspend": True})

    def resume(self) -> None:
        """Goes on from there."""
        self._patch({"suspend": False})

    def _patch(self, spec: Body) -> None:
        kind, kube = self._body["kind"], self._client.kube
        self._body = kube.patch(kind, self.name, {"spec": spec}, manager=MANAGER, namespace=self.namespace)

    def _wait(self, seconds: float | None) -> None:
        self.refresh()
        self._body = until(
            self._client.kube,
            self._body,
            lambda body: holds(body, "Finished"),
            seconds=seconds,
            what=f"the end of {self.name}",
        )

    @property
    def finished(self) -> bool:
        self.refresh()
        return finished(self._body)

    def __repr__(self) -> str:
        return f"<{self._body['kind']} {line(self._body)}>"


class Sweep(_Object):
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
        board = self._board(metric, filter=filter, sort=sort, k=k)
        columns = ["experiment", "state", board.metric, "step", *board.params]
        rows = [
            {
                "experiment": row["experiment"],
                "state": row["state"],
                board.metric: number(row["value"]),
                "step": row["step"],
                **{name: row[f"params.{name}"] for name in board.params},
            }
            for row in board.rows
        ]
        return frame(rows, columns)

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
        return frame(clusters, ("reason", "count", "message", "samples", "suggestion"))

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
        shown = metric or self._body["spec"]["objective"]["metric"]
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
        shown = metric or self._body["spec"]["objective"]["metric"]
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


class Experiment(_Object):
    """One run."""

    @property
    def params(self) -> Body:
        return dict(self._body["spec"].get("params") or {})

    def wait(self, timeout: float | None = None) -> Experiment:
        """Returns when it has ended, however. `timeout` in seconds. Raises TimedOut."""
        self._wait(timeout)
        return self

    def metrics(self) -> pd.DataFrame:
        """Every metric that the run reported: last, best, smallest and largest value. From the hub."""
        path = f"{segment(self.namespace)}/experiments/{segment(self.name)}/metrics"
        rows = [
            {**item, **{key: number(item.get(key)) for key in ("last", "best", "min", "max")}}
            for item in self._client.hub.get(path)["items"]
        ]
        return frame(rows, ("name", "count", "last", "best", "bestStep", "min", "max"))

    def curve(self, metric: str | None = None) -> pd.DataFrame:
        """A metric by step; default: the objective. From the hub."""
        shown = metric or (self._body["spec"].get("objective") or {}).get("metric")
        if shown is None:
            raise OrkhavenError(f"{self.name} has no objective: name a metric")
        path = f"{segment(self.namespace)}/experiments/{segment(self.name)}/metrics/{segment(shown)}"
        answer = self._client.hub.get(path)
        rows = [
            {"step": step, "value": number(value), "time": when, "attempt": attempt}
            for step, value, when, attempt in zip(
                answer["step"], answer["value"], answer["time"], answer["attempt"], strict=True
            )
        ]
        return frame(rows, ("step", "value", "time", "attempt"))

    def log(self, attempt: int | None = None) -> str:
        """Its log as the hub has kept it; default: of the latest attempt."""
        attempts = self.status.get("attempts") or []
        number_ = attempt or (attempts[-1]["number"] if attempts else 1)
        path = f"{segment(self.namespace)}/experiments/{segment(self.name)}/attempts/{number_}/log"
        return "\n".join(self._client.hub.lines(path))
