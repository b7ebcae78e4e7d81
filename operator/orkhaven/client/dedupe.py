"""What `dedupe` will do about identical runs, said before anything is made.

The operator decides, by the same rules (core.identity); here they are only told. Where neither the spec nor its image
says how, the operator's default image does, which a client does not know: what it did about an earlier run tells it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orkhaven.api import Reason
from orkhaven.api.experiment import Dedupe
from orkhaven.client.errors import Invalid
from orkhaven.client.kube import Body
from orkhaven.core.identity import dedupe_by
from orkhaven.core.search.listing import duplicates_message, listed_duplicates

SHOWN = 3
"""Identical runs that are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What becomes of identical runs, and why so."""

    dedupe: Dedupe | None
    """None: the operator's default image says it."""
    why: str


@dataclass(slots=True)
class Group:
    """Trials of which identical runs have one fate."""

    count: int = 0
    names: list[str] = field(default_factory=list)
    """Of the first few of those runs."""

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < SHOWN and name not in self.names:
            self.names.append(name)


def way_of(body: Body, decided: tuple[Dedupe, str] | None = None) -> Way:
    """`body`: a Sweep or an Experiment; `decided`: see `decision`, with the name of that run."""
    spec = body["spec"]
    template = spec if body["kind"] == "Experiment" else spec.get("template") or {}
    if spec.get("dedupe"):
        return Way(dedupe=Dedupe(spec["dedupe"]), why="as the spec says")
    if image := template.get("image"):
        how = dedupe_by(image)
        tag = "latest or none" if how is Dedupe.NEVER else "one of its own"
        return Way(dedupe=how, why=f"the default where the image's tag is {tag}")
    if decided is not None:
        how, name = decided
        return Way(dedupe=how, why=f"the operator's default, by its image, as for {name}")
    return Way(dedupe=None, why="")


def decision(experiment: Body) -> Dedupe | None:
    """What the operator's default image came to for this run: that of `Never` has a folder of its own from its first
    attempt on, that of `Reuse` has none but beside another at work. None: this one does not tell."""
    spec, status = experiment["spec"], experiment.get("status") or {}
    if spec.get("dedupe") or spec.get("image"):
        return None
    if status.get("reason") == Reason.REUSED:
        return Dedupe.REUSE
    if not status.get("attemptCount"):
        return None
    return Dedupe.NEVER if status.get("outputFolder") else Dedupe.REUSE


def sentences(way: Way, groups: Mapping[str, Group], *, first: int | None) -> list[str]:
    """What becomes of the trials of which there are identical runs, `groups` by Plan's words for them. Nothing where
    there are none. `first`: so many trials were compared, where these are not all."""
    if not any(group.count for group in groups.values()):
        return []
    of = f", of the first {first:,}" if first is not None else ""
    if way.dedupe is None:
        both = _merged(groups, ("done", "open", "failed", "pruned"))
        if not both.count:
            return []
        return [
            f"dedupe is not set{of}: where the operator's default image has a tag of its own, Reuse answers by "
            f"{_named(both)}; where that is latest or none, Never runs them again"
        ]
    said: list[str] = []
    if way.dedupe is Dedupe.SKIP:
        there = _merged(groups, ("done", "open", "failed", "pruned"))
        said += [_counted(there, "is not run: identical to", "are not run: identical to")]
    elif way.dedupe is Dedupe.NEVER:
        there = _merged(groups, ("done", "open", "failed", "pruned", "apart"))
        said += [
            _counted(there, "is run again, in a folder of its own:", "are run again, each in a folder of its own:")
        ]
    else:
        ended = _merged(groups, ("failed", "pruned"))
        said += [
            _counted(groups["done"], "takes over a result without a Job:", "take over results without a Job:"),
            _counted(groups["open"], "waits for a result:", "wait for results:"),
            _counted(ended, "goes on from the last checkpoint of", "go on from the last checkpoints of"),
        ]
    if way.dedupe is not Dedupe.NEVER:
        words = "run: another objective or output volume than"
        said += [_counted(groups["apart"], f"is {words}", f"are {words}")]
    return [f"dedupe {way.dedupe} ({way.why}){of}: {'; '.join(part for part in said if part)}"]


def without_cluster(body: Body) -> list[str]:
    """What can be said of a file alone. Raises Invalid where a trial sets a place twice."""
    way = way_of(body)
    effect = {
        Dedupe.REUSE: "runs that the namespace has already are not paid for twice",
        Dedupe.SKIP: "trials that the namespace has already are not run",
        Dedupe.NEVER: "runs that the namespace has already are run again",
        None: "runs that the namespace has already are not paid for twice, but where the operator's default image has "
        "the tag latest or none",
    }[way.dedupe]
    how = f"{way.dedupe} ({way.why})" if way.dedupe else "is not set"
    said = [f"dedupe {how}: {effect}; kubectl ork submit --dry-run says which they are"]
    return [*([twice] if (twice := listed_twice(body)) else []), *said]


def listed_twice(body: Body) -> str:
    """Trials of a List that are the same, of which one is made. Raises Invalid where a trial sets a place twice."""
    spec = body["spec"]
    if body["kind"] == "Experiment" or (spec.get("search") or {}).get("algorithm") != "List":
        return ""
    try:
        twice = listed_duplicates(spec.get("trials") or (), (spec.get("template") or {}).get("params") or {})
    except ValueError as error:
        raise Invalid(str(error)) from error
    return duplicates_message(twice)


def _merged(groups: Mapping[str, Group], words: Sequence[str]) -> Group:
    merged = Group()
    for word in words:
        merged.count += groups[word].count
        merged.names += groups[word].names[: SHOWN - len(merged.names)]
    return merged


def _counted(group: Group, one: str, several: str) -> str:
    return f"{group.count:,} {one if group.count == 1 else several} {_named(group)}" if group.count else ""


def _named(group: Group) -> str:
    more = group.count - len(group.names)
    return ", ".join(group.names) + (f" and {more:,} more" if more else "")
