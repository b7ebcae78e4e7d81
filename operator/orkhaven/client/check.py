"""Would the trainer take these parameters? Asked of its own model, here, before anything is sent. Needs no cluster.

Only `ctseg` can be asked; what other programs take they alone know. Whose parameters they are is read off the resource:
`ctseg` is run by an image of that name (the chart's trainer images, wherever they are pushed to) or by none, which is
the operator's default, unless the resource has a command of its own.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from orkhaven.client.kube import Body

MOST = 1000
"""Trials of a sweep that are checked, about half a second; of more a random sample of so many, always the same one."""

_IMAGE = re.compile(r"(orkhaven-)?trainer(-cpu)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """One thing that the trainer would refuse."""

    where: str
    """A path below the resource's `params`."""
    problem: str
    trials: Sequence[int]
    """Numbers of the trials that have it, of those checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of one Sweep or Experiment."""

    total: int
    checked: int = 0
    later: int = 0
    """Whose parameters depend on the results of others."""
    wrong: Sequence[Wrong] = ()
    unchecked: str = ""
    """Why nothing was checked, where nothing was."""

    @property
    def failing(self) -> int:
        """Trials that would end as InvalidParams."""
        return len({number for one in self.wrong for number in one.trials})

    def share(self, one: Wrong) -> str:
        """Which trials have it; empty for an Experiment."""
        if self.total == 1:
            return ""
        return f"{len(one.trials)} of {self.checked:,} trials, the first is number {one.trials[0]}"


def check(body: Body, *, most: int = MOST) -> Verdict:
    """`body` has passed the schema. Raises Invalid where a dotted name leads nowhere."""
    total, later, trials = _trials(body, most)
    template = body["spec"] if body["kind"] == "Experiment" else body["spec"].get("template") or {}
    if not runs_ctseg(template):
        return Verdict(total=total, unchecked="only its own image knows its parameters")
    if find_spec("ctseg") is None:
        return Verdict(total=total, unchecked="its package ctseg is not here")
    import orkrun
    from ctseg import config

    found: dict[tuple[str, str], list[int]] = {}
    checked = 0
    for number, params in trials:
        checked += 1
        try:
            config.parse(params)
        except orkrun.InvalidParams as error:
            where, _, problem = str(error).partition(": ")
            found.setdefault((where, problem), []).append(number)
    wrong = [
        Wrong(where=f"params.{where}", problem=problem, trials=numbers) for (where, problem), numbers in found.items()
    ]
    return Verdict(total=total, checked=checked, later=later, wrong=wrong)


def runs_ctseg(spec: Mapping[str, Any]) -> bool:
    """`spec`: of an Experiment, or a Sweep's template."""
    if spec.get("command"):
        return False
    image = spec.get("image")
    if image is None:
        return True
    name = str(image).partition("@")[0].rsplit("/", 1)[-1].partition(":")[0]
    return _IMAGE.fullmatch(name) is not None


def _trials(body: Body, most: int) -> tuple[int, int, Iterator[tuple[int, Mapping[str, Any]]]]:
    """How many there are, how many of them depend on results, and those that are checked."""
    if body["kind"] == "Experiment":
        return 1, 0, iter([(0, body["spec"].get("params") or {})])
    from orkhaven.client.plan import first_trials, trials_of
    from orkhaven.core.search import Asked, Trials

    source = trials_of(body)
    if not isinstance(source, Trials):
        # Drawn, and a sample as they come: a later one costs all those before it.
        first = list(enumerate(first_trials(source, most)))
        later = source.total - source.known if isinstance(source, Asked) else 0
        return source.total, later, iter(first)
    numbers: Sequence[int] = range(source.total)
    if source.total > most:
        # The first so many of a grid in sequence would all have the first value of its first parameter.
        numbers = sorted(random.Random(0).sample(numbers, most))
    return source.total, 0, ((number, source.params(number)) for number in numbers)
