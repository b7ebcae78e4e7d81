"""An entry of spec.rerun as a person asks for it: made, checked, and put into the Sweep with that person's rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from orkhaven.client.board import without_replaced
from orkhaven.client.errors import Conflict, Invalid
from orkhaven.client.kube import Body, Kube

RESOURCES = "resources."
PARAMS = "params."
TRIES = 5
"""Times that a Sweep is read anew because somebody changed it at the same moment."""


def entry_of(
    *,
    day: date,
    clusters: Sequence[str] = (),
    reasons: Sequence[str] = (),
    names: Sequence[str] = (),
    match: Mapping[str, Sequence[Any]] | None = None,
    set: Mapping[str, Any] | None = None,
    image: str | None = None,
    env: Mapping[str, str] | None = None,
    from_scratch: bool = False,
    id: str | None = None,
) -> Body:
    """`set`: dotted names and values: resources.memory and the like, everything else is a parameter (params.NAME where
    a parameter's own name begins with "resources."). Raises Invalid with all that the API server would refuse."""
    from pydantic import ValidationError

    from orkhaven.api.rerun import Rerun, rerun_id
    from orkhaven.api.rules import problems

    select = {"clusters": list(clusters), "reasons": list(reasons), "names": list(names)}
    select = {key: value for key, value in select.items() if value}
    if match:
        select["params"] = {name: list(values) for name, values in match.items()}  # type: ignore[assignment]
    changes: Body = {}
    for name, value in (set or {}).items():
        if name.startswith(RESOURCES):
            changes.setdefault("resources", {})[name.removeprefix(RESOURCES)] = value
        else:
            changes.setdefault("params", {})[name.removeprefix(PARAMS)] = value
    if image:
        changes["image"] = image
    if env:
        changes["env"] = [{"name": name, "value": value} for name, value in env.items()]
    made: Body = {}
    if select:
        made["select"] = select
    if changes:
        made["overrides"] = changes
    if from_scratch:
        made["fromCheckpoint"] = False
    made = {"id": id or rerun_id(made, day), **made}
    try:
        Rerun.model_validate(made)
    except ValidationError as error:
        wrong = "\n".join(f"  {one}" for one in problems(error))
        raise Invalid(f"this would be refused, so nothing was sent:\n{wrong}") from error
    return made


def taken_in(kube: Kube, sweep: Body, entry: Body) -> list[str]:
    """The names of the trials that the entry would select now."""
    from orkhaven.api.rerun import RerunSelect, selects
    from orkrun.contract import LABEL_SWEEP

    meta, select = sweep["metadata"], RerunSelect.model_validate(entry.get("select") or {})
    labels = f"{LABEL_SWEEP}={meta['name']}"
    names = []
    for body in without_replaced(kube.each("Experiment", namespace=meta["namespace"], labels=labels)):
        name, status = body["metadata"]["name"], body.get("status") or {}
        if status.get("state") != "Failed" or body["metadata"].get("deletionTimestamp"):
            continue
        cluster = (status.get("failure") or {}).get("cluster")
        params = body["spec"].get("params") or {}
        if selects(select, name=name, reason=status.get("reason"), cluster=cluster, params=params):
            names.append(name)
    return sorted(names)


def ask(kube: Kube, sweep: Body, entry: Body, *, manager: str) -> Body | None:
    """The Sweep with the entry; None: its id was used before, and nothing was changed."""
    from orkhaven.api.rerun import with_rerun

    meta = sweep["metadata"]
    for attempt in range(TRIES):
        entries = with_rerun(sweep, entry)
        if entries is None:
            return None
        changes = {"metadata": {"resourceVersion": sweep["metadata"]["resourceVersion"]}, "spec": {"rerun": entries}}
        try:
            return kube.patch("Sweep", meta["name"], changes, manager=manager, namespace=meta["namespace"])
        except Conflict:
            if attempt + 1 == TRIES:
                raise
            sweep = kube.get("Sweep", meta["name"], namespace=meta["namespace"])
    return None


def words_of(entry: Body) -> str:
    """What it changes, for people: "resources.memory=32Gi, from the start"."""
    changes = entry.get("overrides") or {}
    parts = [f"resources.{name}={value}" for name, value in (changes.get("resources") or {}).items()]
    parts += [f"{name}={value}" for name, value in (changes.get("params") or {}).items()]
    if changes.get("image"):
        parts.append(f"image {changes['image']}")
    parts += [f"{one['name']}={one.get('value', '')}" for one in changes.get("env") or ()]
    another = changes.get("params") or changes.get("image")
    anew = another or entry.get("fromCheckpoint") is False
    parts.append("from the start" if anew else "from the last checkpoint, where there is one")
    return ", ".join(parts)
