"""`Experiment`: one run as a Python object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orkhaven.client.errors import OrkhavenError
from orkhaven.client.frames import frame, number
from orkhaven.client.kube import Body
from orkhaven.client.resource import Resource
from orkhaven.client.wire import segment

if TYPE_CHECKING:
    import pandas as pd


class Experiment(Resource):
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
