"""`rerun`: failed trials of a sweep once more, in their place; or a new run out of a single one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orkhaven.cli import find
from orkhaven.cli.output import Format, dump
from orkhaven.cli.session import MANAGER, Session
from orkhaven.client.creator import signed
from orkhaven.client.errors import Invalid
from orkhaven.client.kube import API_VERSION, Body, Kube
from orkhaven.client.manifest import Setting
from orkhaven.client.rerun import PARAMS, RESOURCES, ask, entry_of, taken_in, words_of

SHOWN = 10
"""Names of trials that are printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options. Of a sweep: `clusters` to `id`; of a single run: `seed` and `new_name`; the rest of both."""

    clusters: Sequence[str] = ()
    reasons: Sequence[str] = ()
    names: Sequence[str] = ()
    match: Sequence[str] = ()
    id: str | None = None
    seed: int | None = None
    new_name: str | None = None
    settings: Sequence[str] = ()
    image: str | None = None
    env: Sequence[str] = ()
    from_scratch: bool = False
    dry_run: bool = False


def rerun(session: Session, name: str, asked: Asked) -> int:
    body = find.either(session.kube, name)
    return _trials(session, body, asked) if body["kind"] == "Sweep" else _one(session, body, asked)


# --- of a sweep -------------------------------------------------------------------------------------------------------


def _trials(session: Session, sweep: Body, asked: Asked) -> int:
    if asked.seed is not None or asked.new_name is not None:
        raise Invalid(
            "--seed and --new-name are for a single Experiment",
            hint="of a sweep's trials the seed stays: it belongs to the trial",
        )
    kube, name = session.kube, sweep["metadata"]["name"]
    entry = entry_of(
        day=session.now.date(),
        clusters=asked.clusters,
        reasons=asked.reasons,
        names=asked.names,
        match={one.name: one.values for one in map(Setting.parse, asked.match)},
        set=_values(asked.settings),
        image=asked.image,
        env=_env(asked.env),
        from_scratch=asked.from_scratch,
        id=asked.id,
    )
    names = taken_in(kube, sweep, entry)
    if not names:
        print(f"sweep/{name}: none of its failed trials is selected, so nothing was written", file=sys.stderr)
        print(f"next: {session.command('failures', name)}", file=sys.stderr)
        return 1
    count = "1 failed trial" if len(names) == 1 else f"{len(names)} failed trials"
    print(f"sweep/{name}: {count} once more, {words_of(entry)}")
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    print(f"  {', '.join(names[:SHOWN])}{more}")
    if asked.dry_run:
        print("nothing was written; this would be added to spec.rerun:")
        dump(entry, Format.YAML)
        return 0
    if ask(kube, sweep, entry, manager=MANAGER) is None:
        print(f"rerun {entry['id']} was asked for already: nothing was written; --id gives it another name")
        print(f"next: {session.command('failures', name)}")
        return 0
    print(f"sweep/{name}: rerun {entry['id']} asked for")
    print(f"next: {session.command('status', name, '-w')}")
    return 0


def _values(texts: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for one in map(Setting.parse, texts):
        if len(one.values) > 1:
            raise Invalid(f"--set {one.name}: a rerun has one value of each; several need a Sweep")
        values[one.name] = one.values[0]
    return values


def _env(texts: Sequence[str]) -> dict[str, str]:
    made = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Invalid(f"--env {text}: write NAME=VALUE, such as OMP_NUM_THREADS=4")
        made[name] = value
    return made


# --- of a single run --------------------------------------------------------------------------------------------------


def _one(session: Session, old: Body, asked: Asked) -> int:
    from orkhaven.api.rerun import rerun_spec
    from orkhaven.cli.submit import checked

    if asked.clusters or asked.reasons or asked.names or asked.match or asked.id:
        raise Invalid("--cluster, --reason, --name, --match and --id select trials of a Sweep; this is an Experiment")
    kube, name = session.kube, old["metadata"]["name"]
    made: Body = {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {"name": asked.new_name or _free_name(kube, name), "namespace": old["metadata"]["namespace"]},
        "spec": _changed(old["spec"], asked),
    }
    params = [text.removeprefix(PARAMS) for text in asked.settings if not text.startswith(RESOURCES)]
    (made,) = checked([made], params)
    made["spec"] = rerun_spec(old, made["spec"], from_scratch=asked.from_scratch)
    if "resumeFrom" in made["spec"]:
        print(f"note: the same run as {name}: it goes on from its last checkpoint, where there is one", file=sys.stderr)
    if sweep := _sweep_of(old):
        own = session.command("rerun", sweep, "--name", name)
        print(f"note: beside sweep/{sweep}, without a place in it; in its trial's place: {own}", file=sys.stderr)
    if asked.dry_run:
        dump(made, Format.YAML)
        return 0
    if any(made["metadata"]["name"] == other for other in kube.names("Experiment")):
        raise Invalid(f"experiment/{made['metadata']['name']} is there already; --new-name chooses another name")
    kube.apply(signed(kube, made), manager=MANAGER)
    print(f"experiment/{made['metadata']['name']} applied")
    print(f"next: {session.command('why', made['metadata']['name'])}")
    return 0


def _changed(spec: Body, asked: Asked) -> Body:
    spec = dict(spec)
    if asked.seed is not None:
        spec["seed"] = asked.seed
    if asked.image:
        spec["image"] = asked.image
    resources = {
        name.removeprefix(RESOURCES): value
        for name, value in _values(asked.settings).items()
        if name.startswith(RESOURCES)
    }
    if resources:
        spec["resources"] = {**(spec.get("resources") or {}), **resources}
    if asked.env:
        entries = {one["name"]: one for one in spec.get("env") or ()}
        entries |= {name: {"name": name, "value": value} for name, value in _env(asked.env).items()}
        spec["env"] = list(entries.values())
    return spec


def _free_name(kube: Kube, name: str) -> str:
    from orkhaven.api.rerun import rerun_names

    taken = set(kube.names("Experiment"))
    return next(one for one in rerun_names(name) if one not in taken)


def _sweep_of(body: Body) -> str | None:
    owners = body["metadata"].get("ownerReferences") or []
    return next((owner["name"] for owner in owners if owner.get("controller") and owner["kind"] == "Sweep"), None)
