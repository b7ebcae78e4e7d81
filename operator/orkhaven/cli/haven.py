"""`import-haven`: the results of Haven (github.com/haven-ai/haven-ai) as finished Experiments.

A savedir has a folder for each experiment: `exp_dict.json` with the parameters, `score_list.pkl` with a dictionary per
epoch. What becomes of it: an Experiment that has ended, with parameters, best and last values. Haven's curves stay
where they are: the hub takes metrics from training pods alone.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orkhaven.api.meta import shown
from orkhaven.cli import pickles
from orkhaven.cli.output import Column, Format, View, emit
from orkhaven.cli.session import Session
from orkhaven.client.errors import Forbidden, Invalid
from orkhaven.client.kube import API_VERSION, Body, Kube
from orkhaven.core.identity import LABEL_DIGITS, param_hash
from orkrun.contract import LABEL_PARAM_HASH, Objective, is_minimized

MANAGER = "kubectl-ork-import"
LABEL = "orkhaven.io/imported-from"
ANNOTATION = "orkhaven.io/haven-id"
MAX_METRICS = 32
STEPS = ("epoch", "step", "iteration")
"""What counts the entries of a score list; else their number does."""

COLUMNS = (
    Column("EXPERIMENT", "experiment"),
    Column("HAVEN ID", "id"),
    Column("EPOCHS", "epochs", right=True),
    Column("VALUE", "value", right=True),
    Column("PARAMETERS", "params", shrink=True),
    Column("RESULT", "result"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One folder of the savedir."""

    id: str
    params: Mapping[str, Any]
    scores: Sequence[Mapping[str, Any]]
    ended: datetime
    problem: str = ""


def import_haven(
    session: Session, folder: Path, *, metric: str | None, minimize: bool, prefix: str, apply: bool
) -> int:
    found = list(read(folder))
    if not found:
        raise Invalid(f"{folder}: no folder in it has an exp_dict.json", hint="DIR is what Haven calls savedir_base")
    objective = _objective(found, metric, minimize=minimize)
    kube = session.kube if apply else None
    there = set(kube.names("Experiment")) if kube else set()
    rows, made = [], []
    for one in found:
        row = {"experiment": None, "id": one.id, "epochs": len(one.scores), "params": one.params, "result": one.problem}
        if not one.problem:
            body = experiment(one, objective, prefix=prefix)
            name = body["metadata"]["name"]
            row |= {"experiment": name, "value": (body["status"].get("objective") or {}).get("value")}
            if kube is None:
                row["result"] = "would be made"
            elif name in there:
                row["result"] = "there already"
            else:
                _make(kube, body)
                there.add(name)
                row["result"] = "made"
            made.append(body)
        rows.append(row)
    skipped = sum(bool(one.problem) for one in found)
    note = f"{len(made)} of {len(found)} have results" + (f", {skipped} left out" if skipped else "")
    if not apply:
        note += "; --apply makes the Experiments"
    columns = COLUMNS if objective else [column for column in COLUMNS if column.key != "value"]
    emit(View(columns, rows, data=made if session.output is Format.YAML else rows, notes=[note]), session.output)
    return 0 if made else 1


def _objective(found: Sequence[Found], metric: str | None, *, minimize: bool) -> Objective | None:
    if metric is None:
        return None
    names = sorted({str(key) for one in found for entry in one.scores for key in entry})
    if metric not in names:
        raise Invalid(f"--metric {metric}: no score list has it; there are: {', '.join(names)}")
    return {"metric": metric, "direction": "Minimize" if minimize else "Maximize"}


def read(folder: Path) -> Iterator[Found]:
    """Each experiment of a savedir, by name. What cannot be used has its `problem`. Raises Invalid."""
    try:
        places = sorted(place for place in folder.iterdir() if (place / "exp_dict.json").is_file())
    except OSError as error:
        raise Invalid(f"{folder}: {error.strerror}") from error
    for place in places:
        ended = datetime.fromtimestamp((place / "exp_dict.json").stat().st_mtime, UTC)
        try:
            params = json.loads((place / "exp_dict.json").read_text(), parse_constant=_no_constant)
            if not isinstance(params, dict):
                raise ValueError("it holds no object")
        except (OSError, ValueError) as error:
            yield Found(id=place.name, params={}, scores=(), ended=ended, problem=f"exp_dict.json: {error}")
            continue
        scores, problem = _scores(place / "score_list.pkl")
        if scores:
            ended = datetime.fromtimestamp((place / "score_list.pkl").stat().st_mtime, UTC)
        yield Found(id=place.name, params=params, scores=scores, ended=ended, problem=problem)


def _no_constant(name: str) -> Any:
    raise ValueError(f"a parameter is {name}, which JSON has no number for")


def _scores(file: Path) -> tuple[Sequence[Mapping[str, Any]], str]:
    if not file.is_file():
        return (), "no score_list.pkl: it never reported"
    try:
        scores = pickles.load(file.read_bytes())
    except pickles.Refused as error:
        return (), f"score_list.pkl is refused: it holds {error}"
    except OSError as error:
        return (), f"score_list.pkl: {error.strerror}"
    if not isinstance(scores, list) or not all(isinstance(entry, dict) for entry in scores):
        return (), "score_list.pkl is no list of dictionaries"
    return scores, "" if scores else "score_list.pkl is empty: it never reported"


def experiment(one: Found, objective: Objective | None, *, prefix: str) -> Body:
    """The Experiment, status included. It is suspended, so that nothing starts it before it has its status."""
    start = re.sub(r"[^a-z0-9]+", "-", one.id.lower()).strip("-")[:10].strip("-")
    ended = one.ended.strftime("%Y-%m-%dT%H:%M:%SZ")
    done = {"reason": "Completed", "message": "imported from Haven", "lastTransitionTime": ended}
    metrics = summary(one.scores, objective)
    status: Body = {
        "state": "Succeeded",
        "reason": "Completed",
        "message": f"imported from Haven, experiment {one.id}"[:2048],
        "paramHash": param_hash(one.params),
        "progress": {"step": _step(one.scores[-1], len(one.scores))},
        "metrics": metrics,
        "completionTime": ended,
        "conditions": [
            {"type": "Accepted", "status": "True", **done},
            {"type": "Running", "status": "False", **done},
            {"type": "Finished", "status": "True", **done},
            {"type": "Succeeded", "status": "True", **done},
        ],
    }
    spec: Body = {"params": dict(one.params), "suspend": True}
    if objective:
        spec["objective"] = dict(objective)
        reached = metrics.get(objective["metric"]) or {}
        if "best" in reached:
            status["objective"] = {"value": reached["best"], "step": reached["bestStep"]}
    return {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {
            "name": f"{prefix}-{start}",
            "labels": {LABEL: "haven", LABEL_PARAM_HASH: status["paramHash"][:LABEL_DIGITS]},
            "annotations": {ANNOTATION: one.id},
        },
        "spec": spec,
        "status": status,
    }


def summary(scores: Sequence[Mapping[str, Any]], objective: Objective | None) -> dict[str, dict[str, Any]]:
    """Last and best of at most 32 metrics, the objective first; what is no number is left out."""
    names = [str(key) for entry in scores for key in entry if key not in STEPS]
    first = [objective["metric"]] if objective else []
    told: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys([*first, *sorted(names)]):
        points = [
            (_step(entry, number), float(entry[name]))
            for number, entry in enumerate(scores, 1)
            if _is_finite(entry.get(name))
        ]
        if points and len(told) < MAX_METRICS and len(name) <= 128:
            choose = min if is_minimized(name, objective) else max
            step, value = choose(points, key=lambda point: point[1])
            told[name] = {"last": shown(points[-1][1]), "best": shown(value), "bestStep": step}
    return told


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _step(entry: Mapping[str, Any], number: int) -> int:
    counted = next((entry[name] for name in STEPS if _is_finite(entry.get(name))), number)
    return max(0, int(counted))


def _make(kube: Kube, body: Body) -> None:
    """Made and ended. What may be made but not ended is taken back."""
    meta = {**body["metadata"], "namespace": kube.namespace}
    identity = {"apiVersion": body["apiVersion"], "kind": body["kind"]}
    made = kube.apply({**identity, "metadata": meta, "spec": body["spec"]}, manager=MANAGER)
    named = {"name": meta["name"], "namespace": kube.namespace}
    ended = {**identity, "metadata": named, "status": body["status"]}
    try:
        kube.apply(ended, manager=MANAGER, force=True, subresource="status")
    except Forbidden as error:
        kube.delete("Experiment", meta["name"], uid=made["metadata"]["uid"])
        print("nothing was left behind", file=sys.stderr)
        raise Forbidden(
            f"an imported run is written as ended, and you may not do that: {error}",
            hint="an administrator can let you patch experiments/status in this namespace for the import",
        ) from error
