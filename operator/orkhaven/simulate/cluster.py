"""The nodes of the cluster that is played: a YAML list of `{count, gpus, model, memory}`."""

from __future__ import annotations

from datetime import UTC, datetime

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from orkhaven.core.devices import NVIDIA, WHOLE
from orkhaven.core.job import memory_mib
from orkhaven.core.views import Key, Meta, NodeView
from orkhaven.simulate.trace import MOST_GPUS, TraceError

START = datetime(2026, 1, 5, tzinfo=UTC)
"""Second 0 of a trace: midnight, a Monday."""


class NodeGroup(BaseModel):
    """So many nodes that are alike."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(default=1, ge=1, le=100_000)
    gpus: int = Field(ge=1, le=MOST_GPUS)
    model: str | None = None
    memory: str | None = Field(default=None, pattern=r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$")
    """Per GPU, as Kubernetes writes quantities: 80Gi."""


GROUPS = TypeAdapter(list[NodeGroup])


def read_nodes(text: str, *, name: str) -> list[NodeView]:
    """`name` is the file's, for errors."""
    try:
        groups = GROUPS.validate_python(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise TraceError(f"{name}: is not YAML: {error}") from error
    except ValidationError as error:
        where = [(".".join(str(part) for part in problem["loc"]), problem["msg"]) for problem in error.errors()]
        raise TraceError("\n".join(f"{name}: {loc or 'the file'}: {message}" for loc, message in where)) from error
    if not groups:
        raise TraceError(f"{name}: has no nodes; expected a list such as [{{count: 4, gpus: 8, model: A100}}]")
    return [node(f"node-{at}-{one}", group) for at, group in enumerate(groups) for one in range(group.count)]


def node(name: str, group: NodeGroup) -> NodeView:
    memory = memory_mib(group.memory)
    labels = {WHOLE.model_label: group.model, WHOLE.memory_label: None if memory is None else str(memory)}
    said = {label: value for label, value in labels.items() if value}
    return NodeView(
        meta=Meta(key=Key("", name), uid=name, resource_version=1, created=START, labels=said),
        ready=True,
        schedulable=True,
        gpus=group.gpus,
        devices={NVIDIA: group.gpus},
        capacity={NVIDIA: group.gpus},
    )
