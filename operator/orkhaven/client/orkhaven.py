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
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orkhaven.client.check import check as asked
from orkhaven.client.connect import Target, connect
from orkhaven.client.creator import signed
from orkhaven.client.errors import Invalid
from orkhaven.client.experiment import Experiment
from orkhaven.client.frames import frame
from orkhaven.client.hub import Hub, open_hub
from orkhaven.client.kube import Body, Kube
from orkhaven.client.manifest import Setting, changed, problems, read
from orkhaven.client.resource import MANAGER
from orkhaven.client.sweep import Sweep
from orkhaven.client.tokens import TokenChoice, token_of

if TYPE_CHECKING:
    import pandas as pd


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
        self,
        source: str | Path | Body,
        *,
        set: Mapping[str, Any] | None = None,
        check: bool = True,
        force: bool = False,
    ) -> Sweep | Experiment:
        """Applies a Sweep or an Experiment: a path, YAML text, or the object itself; checked before it is sent.

        `set`: dotted names and values: one value fixes a parameter, a list of several is searched. `check`: whether the
        trainer's own model is asked about the parameters too, where it is installed. Raises Invalid with all that is
        wrong.
        """
        body = changed(_one(source), [_setting(name, value) for name, value in (set or {}).items()])
        wrong = problems(body)
        if check and not wrong:
            wrong = [f"{one.where}: {one.problem}" for one in asked(body).wrong]
        if wrong:
            raise Invalid("this would be refused, so nothing was sent:\n" + "\n".join(f"  {one}" for one in wrong))
        body["metadata"].setdefault("namespace", self.namespace)
        applied = self.kube.apply(signed(self.kube, body), manager=MANAGER, force=force)
        return Sweep(self, applied) if applied["kind"] == "Sweep" else Experiment(self, applied)


_TRIALS = ("total", "succeeded", "failed", "pruned", "skipped", "running", "queued", "suspended")


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
