"""What retries change of a spec: more memory, other parameters. Kept in the status, so that every look sees the same.

With other parameters it is another run: its hashes and its folder change with them, so that no identical run of the old
parameters ever takes its result for its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal

from orkhaven.api import ExperimentSpec
from orkhaven.api.meta import parse_quantity
from orkhaven.api.retry import OutOfMemory, Overrides, changes_in_words
from orkhaven.core.devices import NVIDIA
from orkhaven.core.search.space import lay_over
from orkhaven.core.views import NodeView

USUAL_FACTOR = 1.5
"""Where a user's rule asks for more memory, and the run says nothing of how much."""


def effective(spec: ExperimentSpec, overrides: Overrides | None) -> ExperimentSpec:
    """The spec as the next attempt gets it."""
    if overrides is None:
        return spec
    changes: dict[str, object] = {}
    if overrides.memory is not None:
        changes["resources"] = spec.resources.model_copy(update={"memory": overrides.memory})
    if overrides.params is not None:
        changes["params"] = lay_over(spec.params, overrides.params)
    return spec.model_copy(update=changes)


def escalated(
    spec: ExperimentSpec, overrides: Overrides | None, *, host: bool, asked: bool = False
) -> Overrides | None:
    """What the next attempt gets after one was out of memory; None: there is nothing (more) to change.

    `host`: the machine's memory was full, not the GPU's. `asked`: by a user's rule, so that the usual factor will do
    where the run names none.
    """
    rule = spec.retry.out_of_memory or (OutOfMemory(memory_factor=USUAL_FACTOR) if asked else None)
    if rule is None:
        return None
    was = overrides or Overrides()
    memory = _more(was.memory or spec.resources.memory, rule) if host else None
    params = rule.params if rule.params is not None and rule.params != was.params else None
    if params is not None:
        try:
            lay_over(spec.params, params)
        except ValueError:
            params = None  # a name that leads through something that is no object: nothing can be set there
    if memory is None and params is None:
        return None
    return Overrides(memory=memory or was.memory, params=params if params is not None else was.params)


def _more(memory: str | None, rule: OutOfMemory) -> str | None:
    if memory is None or rule.memory_factor is None:
        return None
    had = parse_quantity(memory)
    wanted = had * Decimal(str(rule.memory_factor))
    if rule.max_memory is not None:
        wanted = min(wanted, parse_quantity(rule.max_memory))
    return _quantity(wanted) if wanted > had else None


def _quantity(size: Decimal) -> str:
    mib = math.ceil(size / 2**20)
    return f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi"


def is_room(spec: ExperimentSpec, nodes: Mapping[str, NodeView], *, resource: str = NVIDIA) -> bool:
    """Whether some node with its GPUs, which are of the kind `resource`, has the memory. Where no node says how much
    it has, it is not known, and tried."""
    if spec.resources.memory is None:
        return True
    gpus = spec.resources.gpus
    able = [node for node in nodes.values() if node.devices.get(resource, 0) >= gpus and node.memory_mib is not None]
    wanted = parse_quantity(spec.resources.memory) / 2**20
    return not able or any(wanted <= (node.memory_mib or 0) for node in able)


def in_words(overrides: Overrides | None) -> str:
    """How the next attempt differs: "with 24Gi of memory and batch_size=4"; empty where it does not."""
    words = changes_in_words(overrides.model_dump() if overrides is not None else None)
    return f"with {words}" if words else ""
