"""Rerun: which failed trials of a Sweep are run once more, and with what changed; and one run of its own again.

Owns too how a trial is compared with a selection and what an entry is called, which the operator, the command line, the
notebooks and the hub have to agree about.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from itertools import count
from typing import Annotated, Any, ClassVar

from pydantic import Field

from orkhaven.api.container import EnvVar
from orkhaven.api.experiment import EXPERIMENT_NAME, Dedupe, Json, State
from orkhaven.api.meta import Cpu, DnsLabel, Memory, Model, Rules, StatusModel
from orkhaven.api.rules import Atomic, ListMap, Rule, Transition, matching

MAX_RERUNS = 32
"""In a spec, and in a status."""
MAX_NAMES = 1000
MAX_WAITING = 32 * 1024
"""Characters of `RerunStatus.waiting`: five thousand trials of ten thousand in the worst case."""


class RerunSelect(Model):
    """Which of the trials that have failed. What is left out selects all; of several lists a trial is in each."""

    clusters: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=63)]],
        Field(description="Of one of these clusters: status.failureClusters[].id.", max_length=32),
    ] = []
    reasons: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]],
        Field(description="That failed for one of these reasons, such as OutOfMemoryKilled.", max_length=64),
    ] = []
    names: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=EXPERIMENT_NAME.limit)]],
        Field(description="These Experiments.", max_length=MAX_NAMES),
    ] = []
    params: Annotated[
        dict[str, Annotated[list[Json], Field(min_length=1, max_length=100)]],
        Field(
            description="Whose parameters have one of these values: dotted name -> values, such as batch_size: [16].",
            max_length=16,
        ),
    ] = {}


class ResourceOverrides(Model):
    """What of `resources` is replaced. What is left out stays as the trial had it."""

    gpus: Annotated[int | None, Field(description="Number of GPUs.", ge=0, le=64)] = None
    gpu_models: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=63)]] | None,
        Field(description="GPU models that will do. Empty: any.", max_length=16),
    ] = None
    min_gpu_memory: Annotated[Memory | None, Field(description="Memory that each GPU has to have, e.g. 16Gi.")] = None
    cpu: Annotated[Cpu | None, Field(description="CPU cores, e.g. 4 or 500m.")] = None
    memory: Annotated[Memory | None, Field(description="Memory, e.g. 32Gi.")] = None
    shared_memory: Annotated[Memory | None, Field(description="Size of /dev/shm.")] = None


class RerunOverrides(Model):
    """What is changed. Other parameters or another image make it another run, which starts anew."""

    resources: Annotated[ResourceOverrides | None, Field(description="What the run needs of a node.")] = None
    image: Annotated[
        str | None,
        Field(description="Container image.", min_length=1, max_length=512),
        matching("[a-zA-Z0-9][a-zA-Z0-9._:/@-]*", "an image such as registry.example/trainer:1, without spaces"),
    ] = None
    params: Annotated[
        dict[str, Json],
        Field(description="Parameters laid over those of the trial: dotted name -> value.", max_length=64),
        Atomic(),
    ] = {}
    env: Annotated[
        list[EnvVar],
        Field(
            description="Environment variables, beside those of the trial or instead of those of the same name.",
            max_length=64,
        ),
        ListMap("name"),
    ] = []


class Rerun(Model):
    """Failed trials that are run once more, each as a new Experiment in the old one's place."""

    id: Annotated[
        DnsLabel,
        Field(
            description="Done once: what it selects is fixed when it is first seen. Taking the entry out undoes "
            "nothing, and an id that was used selects nothing again."
        ),
    ]
    select: Annotated[RerunSelect, Field(description="Which of the failed trials. Empty: all of them.")] = RerunSelect()
    overrides: Annotated[RerunOverrides, Field(description="What is changed.")] = RerunOverrides()
    from_checkpoint: Annotated[
        bool | None,
        Field(
            description="true: go on in the trial's output folder, from its last checkpoint where there is one. "
            "false: from the start, in a folder of its own. Default: true, but with other parameters or another image "
            "false, which are another run."
        ),
    ] = None

    rules: ClassVar[Rules] = (
        Rule(
            cel="!has(self.fromCheckpoint) || !self.fromCheckpoint || !has(self.overrides) || "
            "(!has(self.overrides.image) && (!has(self.overrides.params) || size(dyn(self.overrides.params)) == 0))",
            message="other params or another image are another run, which cannot go on from this one's checkpoint: "
            "leave fromCheckpoint out",
            check=lambda r: not r.from_checkpoint or (r.overrides.image is None and not r.overrides.params),
            path=".fromCheckpoint",
        ),
        Transition(
            cel="self == oldSelf",
            message="immutable: what it selects is fixed; take it out and add one with another id",
        ),
    )

    @property
    def is_same_run(self) -> bool:
        """Whether it leaves alone what a run is."""
        return self.overrides.image is None and not self.overrides.params

    @property
    def goes_on(self) -> bool:
        return self.is_same_run and self.from_checkpoint is not False


class RerunStatus(StatusModel):
    """What became of an entry of spec.rerun. It stays when the entry goes, the last 32 of them."""

    id: Annotated[str, Field(description="Of the entry.", max_length=63)]
    time: Annotated[datetime, Field(description="When it was first seen: what had failed by then is selected.")]
    selected: Annotated[int, Field(description="Trials that are run once more.")] = 0
    created: Annotated[int, Field(description="Of them, those whose new Experiment was made.")] = 0
    done: Annotated[int, Field(description="Of them, those that have ended.")] = 0
    succeeded: Annotated[int, Field(description="Of them, those that ended well.")] = 0
    failed: Annotated[int, Field(description="Of them, those that failed again.")] = 0
    message: Annotated[str, Field(description="What could not be done, and why.", max_length=1024)] = ""
    waiting: Annotated[
        str,
        Field(
            description="Numbers of the trials whose new Experiment is still to be made, such as 3,7-9.",
            max_length=MAX_WAITING,
        ),
    ] = ""


# --- which trials it takes in -----------------------------------------------------------------------------------------


def selects(select: RerunSelect, *, name: str, reason: str | None, cluster: str | None, params: Any) -> bool:
    """Whether it takes in a trial that has failed."""
    return (
        (not select.clusters or cluster in select.clusters)
        and (not select.reasons or reason in select.reasons)
        and (not select.names or name in select.names)
        and all(_has_one_of(params, path, values) for path, values in select.params.items())
    )


def _has_one_of(params: Any, path: str, values: Sequence[Any]) -> bool:
    place = params
    for part in path.split("."):
        if not isinstance(place, Mapping) or part not in place:
            return False
        place = place[part]
    return any(_same(place, value) for value in values)


def _same(one: Any, other: Any) -> bool:
    """As JSON: 1 is 1.0, and neither is true or "1"."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


# --- an entry that a person asks for ----------------------------------------------------------------------------------


def rerun_id(entry: Mapping[str, Any], day: date) -> str:
    """What an entry (without its id) is called that is asked for on this day: by its cause, the day, and all it says,
    so that what is asked for twice is done once."""
    select = entry.get("select") or {}
    causes = [*(select.get("clusters") or ()), *(select.get("reasons") or ())]
    word = causes[0] if causes else "names" if select.get("names") else "params" if select.get("params") else "all"
    kebab = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", word).lower()).strip("-")
    text = json.dumps({key: value for key, value in entry.items() if key != "id"}, sort_keys=True)
    return f"{kebab[:40].rstrip('-')}-{day:%Y-%m-%d}-{hashlib.sha256(text.encode()).hexdigest()[:4]}"


def with_rerun(sweep: Mapping[str, Any], entry: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """spec.rerun of a Sweep with one entry more; None: its id was used before. Where the list is full, the oldest
    entries that are done make room, which undoes nothing."""
    held = list(sweep["spec"].get("rerun") or ())
    records = {one["id"]: one for one in (sweep.get("status") or {}).get("reruns") or ()}
    if entry["id"] in records or any(one["id"] == entry["id"] for one in held):
        return None
    done = [one for one in held if one["id"] in records and not records[one["id"]].get("waiting")]
    for old in done[: max(len(held) + 1 - MAX_RERUNS, 0)]:
        held.remove(old)
    return [*held, entry]


def rerun_names(name: str) -> Iterator[str]:
    """What an Experiment that repeats `name` may be called, the first choice first: with -r1, -r2 and so on at the end;
    an ending of that kind is replaced.
    """
    base = re.sub(r"-r[0-9]+$", "", name)
    for number in count(1):
        ending = f"-r{number}"
        yield base[: EXPERIMENT_NAME.limit - len(ending)].rstrip("-") + ending


def rerun_spec(old: Mapping[str, Any], spec: Mapping[str, Any], *, from_scratch: bool = False) -> dict[str, Any]:
    """`spec` as that of an Experiment that is made on purpose to run `old` again, with what `spec` changes.

    The same run that has not come to its end goes on from its checkpoint, in its folder, unless `from_scratch`.
    Anything else is run from its start in a folder of its own: what succeeded already is not the answer.
    """
    was = old.get("spec") or {}
    state = (old.get("status") or {}).get("state")
    identity: tuple[tuple[str, Any], ...] = (
        ("params", {}),
        ("seed", 0),
        ("image", None),
        ("command", []),
        ("data", []),
    )
    same = all(was.get(name, default) == spec.get(name, default) for name, default in identity)
    left_out = ("suspend", "prune", "ttlSecondsAfterFinished", "resumeFrom", "debug")
    kept = {key: value for key, value in spec.items() if key not in left_out}
    if not same or from_scratch or state in (State.SUCCEEDED, State.SKIPPED):
        return {**kept, "dedupe": Dedupe.NEVER.value}
    return {**kept, "resumeFrom": old["metadata"]["name"], "dedupe": Dedupe.REUSE.value}
