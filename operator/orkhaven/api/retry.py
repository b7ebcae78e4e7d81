"""What becomes of a run that has failed: how often it is tried again, with what changed, and where not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field

from orkhaven.api.meta import Memory, Model, Rules, StatusModel, parse_quantity
from orkhaven.api.rules import Atomic, Rule

MAX_AVOIDED = 16
"""Nodes that one status names."""


_Factor = Annotated[
    float,
    Field(le=8, allow_inf_nan=False),
    # A rule, and no minimum: against a whole number the API server compares with the minimum cut to a whole one.
    Rule(cel="self >= 1.1", message="at least 1.1, such as 1.5", check=lambda factor: factor >= 1.1),
]


class OutOfMemory(Model):
    """What the next attempt of a run that was out of memory gets: more of it, or parameters that need less."""

    memory_factor: Annotated[
        _Factor | None,
        Field(
            description="After OutOfMemoryKilled: so many times the resources.memory of the attempt before, such as "
            "1.5. A node has to have it."
        ),
    ] = None
    max_memory: Annotated[
        Memory | None, Field(description="Never more than this, e.g. 64Gi. A run killed at it is not tried again.")
    ] = None
    params: Annotated[
        dict[str, Any] | None,
        Field(
            description="After OutOfMemoryKilled and CudaOutOfMemory: dotted name -> value, laid over the run's "
            "params, such as batch_size: 4. With other parameters it is another run (status.runHash): it starts from "
            "the beginning, in a folder of its own.",
            min_length=1,
        ),
        Atomic(),
    ] = None

    rules: ClassVar[Rules] = (
        Rule(
            # dyn(): CEL's type checker does not see an object of any JSON.
            cel="has(self.memoryFactor) || has(dyn(self).params)",
            message="says nothing of what to change: set memoryFactor (such as 1.5), params, or both",
            check=lambda o: o.memory_factor is not None or o.params is not None,
        ),
        Rule(
            cel="!has(self.maxMemory) || has(self.memoryFactor)",
            message="maxMemory is where memoryFactor ends: set that too (such as 1.5), or leave maxMemory out",
            check=lambda o: o.max_memory is None or o.memory_factor is not None,
            path=".maxMemory",
        ),
    )


class Retry(Model):
    """When a run that has failed is tried again. Which causes may be is fixed: docs/causes."""

    limit: Annotated[
        int,
        Field(
            description="Further attempts after the first for causes that may pass. Preempted and lost nodes are free.",
            ge=0,
            le=100,
        ),
    ] = 2
    out_of_memory: Annotated[
        OutOfMemory | None,
        Field(description="What to change after a run was out of memory. Left out: it is not tried again."),
    ] = None


_FACTOR = "has(self.retry) && has(self.retry.outOfMemory) && has(self.retry.outOfMemory.memoryFactor)"
_MEMORY = "has(self.resources) && has(self.resources.memory)"


def _grows(template: Any) -> OutOfMemory | None:
    """Where the template's memory is to be raised: by what."""
    found: OutOfMemory | None = template.retry.out_of_memory
    return found if found is not None and found.memory_factor is not None else None


def _room(template: Any) -> bool:
    grows, memory = _grows(template), template.resources.memory
    if grows is None or grows.max_memory is None or memory is None:
        return True
    return parse_quantity(grows.max_memory) > parse_quantity(memory)


TEMPLATE_RULES: Rules = (
    Rule(
        cel=f"!({_FACTOR}) || ({_MEMORY})",
        message="memoryFactor needs resources.memory: the limit that it raises",
        check=lambda t: _grows(t) is None or t.resources.memory is not None,
        path=".retry.outOfMemory.memoryFactor",
    ),
    Rule(
        cel=f"!({_FACTOR}) || !has(self.retry.outOfMemory.maxMemory) || !({_MEMORY}) "
        "|| !isQuantity(string(self.retry.outOfMemory.maxMemory)) || !isQuantity(string(self.resources.memory)) "
        "|| quantity(string(self.retry.outOfMemory.maxMemory)).compareTo(quantity(string(self.resources.memory))) > 0",
        message="maxMemory has to be more than resources.memory: else there is nothing to raise",
        check=_room,
        path=".retry.outOfMemory.maxMemory",
    ),
)
"""Of a run's template: what `retry` owes its other fields."""


class Overrides(StatusModel):
    """What retries have changed of the spec: the next attempt gets it."""

    memory: Annotated[str | None, Field(description="Instead of resources.memory.", max_length=32)] = None
    params: Annotated[dict[str, Any] | None, Field(description="Dotted name -> value, laid over params."), Atomic()] = (
        None
    )


class AvoidedNode(StatusModel):
    """A node that attempts do not go to."""

    node: Annotated[str, Field(description="Its name.", max_length=253)]
    reason: Annotated[str, Field(description="What ended attempts there.", max_length=64)]
    experiments: Annotated[
        int | None, Field(description="Experiments that failed there for it, within an hour; of a Sweep's status.")
    ] = None
    until: Annotated[
        datetime | None, Field(description="When it is used again if nothing more fails; of a Sweep's status.")
    ] = None


# --- in words, for all who show a status ------------------------------------------------------------------------------


def changes_in_words(overrides: Mapping[str, Any] | None) -> str:
    """Of a (raw) status.overrides: "24Gi of memory and batch_size=4"; empty where nothing is changed."""
    held = overrides or {}
    parts = [f"{held['memory']} of memory"] if held.get("memory") else []
    parts += [f"{name}={value}" for name, value in (held.get("params") or {}).items()]
    return f"{', '.join(parts[:-1])}{' and ' if len(parts) > 1 else ''}{parts[-1]}" if parts else ""


def avoided_in_words(avoid: Sequence[Mapping[str, Any]] | None) -> str:
    """Of a (raw) status.avoid or status.avoidedNodes: "node-a (GpuHardware), node-b (Stalled)"."""
    return ", ".join(f"{one['node']} ({one['reason']})" for one in avoid or ())
