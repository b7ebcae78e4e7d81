"""Nodes with GPUs and who holds them, read off Nodes and Pods as they are stored, or off what the runs tell where these
may not be read: for the command line and the pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orkhaven.api.meta import GROUP
from orkhaven.api.sharing import Run, gpus_in_words

Body = Mapping[str, Any]

NOT_READY, CORDONED = "not ready", "cordoned"
LIVE_PODS = "status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!="
"""Which pods may hold a GPU, as a field selector."""

_EXPERIMENT, _DEBUG = f"{GROUP}/experiment", f"{GROUP}/debug"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One that holds GPUs of a node."""

    namespace: str
    experiment: str
    user: str
    priority: str
    gpus: int
    since: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node and one kind of its GPUs."""

    name: str
    device: str
    model: str | None
    memory_mib: int | None
    gpus: int | None
    """None: the node may not be read, only what runs on it is known."""
    notes: tuple[str, ...] = ()
    """What is wrong with it."""
    holders: tuple[Holder, ...] = ()
    others: int | None = None
    """GPUs of pods that are no runs, or of runs that one may not see; None: it is not known."""

    @property
    def held(self) -> int:
        return sum(one.gpus for one in self.holders) + (self.others or 0)

    @property
    def free(self) -> int | None:
        """GPUs that a run could get now; None: it is not known."""
        if self.gpus is None:
            return None
        return max(self.gpus - self.held, 0) if self.usable else 0

    @property
    def usable(self) -> bool:
        return not {NOT_READY, CORDONED} & set(self.notes)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodHold:
    """What a pod holds of one kind of GPU."""

    node: str
    device: str
    gpus: int
    namespace: str
    experiment: str
    """Whose it is; empty: it is no run's."""
    since: str
    note: str


@dataclass(slots=True)
class _Held:
    holders: list[Holder] = field(default_factory=list)
    others: int = 0


def nodes_of(
    nodes: Iterable[Node] | None,
    runs: Iterable[Run],
    pods: Iterable[PodHold] | None = None,
    *,
    avoided: Mapping[str, str] | None = None,
) -> list[Node]:
    """The nodes that have GPUs, by name, with who holds them.

    `nodes`: see `bare_nodes`; None where they may not be read: then those that the runs name. `runs`: those that the
    reader may see. `pods`: see `pod_holds`, of all of the cluster, or None: then what a run holds is read off its
    status, and what is not a run's is not known. `avoided`: by node, why all runs go past it.
    """
    runs = list(runs)
    held = _by_pods(pods, runs) if pods is not None else _by_status(runs)
    if nodes is None:
        models = {(run.node, run.device): run.gpu_model for run in runs if run.holds}
        bare = [
            Node(name=name or "", device=device, model=model, memory_mib=None, gpus=None)
            for (name, device), model in models.items()
        ]
    else:
        bare = list(nodes)
    found = []
    for line in sorted(bare, key=lambda line: (line.name, line.device)):
        here = held.get((line.name, line.device), _Held())
        why = (avoided or {}).get(line.name)
        found.append(
            replace(
                line,
                holders=tuple(sorted(here.holders, key=lambda one: (one.since, one.namespace, one.experiment))),
                others=here.others if pods is not None else None,
                notes=(*line.notes, *((f"avoided: {why}",) if why else ())),
            )
        )
    return found


def node_row(node: Node) -> dict[str, Any]:
    """What tables, files and programs are told of a node, by the names that all of them use."""
    return {
        "node": node.name,
        "device": node.device,
        "model": node.model,
        "memoryMib": node.memory_mib,
        "gpus": node.gpus,
        "free": node.free,
        "others": node.others,
        "notes": ", ".join(node.notes),
    }


def holder_row(one: Holder) -> dict[str, Any]:
    """The same of one that holds GPUs of a node."""
    return {
        "experiment": one.experiment,
        "namespace": one.namespace,
        "user": one.user,
        "priority": one.priority,
        "holds": one.gpus,
        "since": one.since,
        "note": one.note,
    }


GPU_COLUMNS = (
    "node", "device", "model", "memoryMib", "gpus", "free", "others", "notes", "experiment", "namespace", "user",
    "priority", "holds", "since", "note",
)  # fmt: skip
"""Of a file with a row for each that holds something, in its order."""


def gpus_in_all(nodes: Sequence[Node]) -> str:
    """ "3 of 8 GPUs are free on 2 nodes"; by what is known."""
    count = f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"
    if not nodes:
        return "no node has GPUs"
    if any(node.gpus is None for node in nodes):
        return f"{gpus_in_words(sum(node.held for node in nodes))} held on {count}"
    total, free = sum(node.gpus or 0 for node in nodes), sum(node.free or 0 for node in nodes)
    return f"{free} of {gpus_in_words(total)} free on {count}"


def is_gpu(resource: str) -> bool:
    """Whether a node's resource is a GPU or a part of one: nvidia.com/gpu, nvidia.com/mig-1g.10gb, amd.com/gpu."""
    last = resource.rpartition("/")[2]
    return "/" in resource and (last == "gpu" or last.startswith(("gpu.", "mig-")))


def bare_nodes(bodies: Iterable[Body]) -> list[Node]:
    """Without those that have no GPUs."""
    return [line for body in bodies for line in _bare(body)]


def _bare(body: Body) -> list[Node]:
    meta, status = body["metadata"], body.get("status") or {}
    labels = meta.get("labels") or {}
    ready: Body = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), {})
    notes = [] if ready.get("status") == "True" else [NOT_READY]
    if (body.get("spec") or {}).get("unschedulable"):
        notes.append(CORDONED)
    allocatable = status.get("allocatable") or {}
    capacity = status.get("capacity") or {}
    # A device plugin that is away reports 0: the node is still one with GPUs, and what holds them is to be seen.
    devices = sorted(one for one in {*allocatable, *capacity} if is_gpu(one) and _int(capacity.get(one)))
    memory = _int(labels.get("nvidia.com/gpu.memory"))
    return [
        Node(
            name=meta["name"],
            device=device,
            model=labels.get("nvidia.com/gpu.product"),
            memory_mib=memory or None,
            gpus=_int(allocatable.get(device)),
            notes=(*notes, *_missing(_int(allocatable.get(device)), _int(capacity.get(device)))),
        )
        for device in devices
    ]


def _missing(allocatable: int, capacity: int) -> tuple[str, ...]:
    return (f"{capacity - allocatable} of {capacity} not healthy",) if allocatable < capacity else ()


def _by_status(runs: Iterable[Run]) -> dict[tuple[str, str], _Held]:
    held: dict[tuple[str, str], _Held] = {}
    for run in runs:
        if run.holds and run.node:
            held.setdefault((run.node, run.device), _Held()).holders.append(_holder(run, run.gpus, run.held_since))
    return held


def pod_holds(pods: Iterable[Body]) -> list[PodHold]:
    """Of those that are on a node and have not ended."""
    return [hold for pod in pods for hold in _pod_holds(pod)]


def _pod_holds(pod: Body) -> list[PodHold]:
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Succeeded", "Failed"):
        return []
    labels = meta.get("labels") or {}
    return [
        PodHold(
            node=spec["nodeName"],
            device=device,
            gpus=count,
            namespace=meta["namespace"],
            experiment=labels.get(_EXPERIMENT) or labels.get(_DEBUG) or "",
            since=str(status.get("startTime") or meta.get("creationTimestamp") or ""),
            note="debug" if labels.get(_DEBUG) else "stopping" if meta.get("deletionTimestamp") else "",
        )
        for device, count in _gpus_of(spec).items()
    ]


def _by_pods(pods: Iterable[PodHold], runs: Iterable[Run]) -> dict[tuple[str, str], _Held]:
    known = {(run.namespace, run.name): run for run in runs}
    held: dict[tuple[str, str], _Held] = {}
    for pod in pods:
        run = known.get((pod.namespace, pod.experiment))
        here = held.setdefault((pod.node, pod.device), _Held())
        if run is None:
            here.others += pod.gpus
        else:
            here.holders.append(replace(_holder(run, pod.gpus, pod.since), note=pod.note))
    return held


def _holder(run: Run, gpus: int, since: str) -> Holder:
    return Holder(
        namespace=run.namespace,
        experiment=run.name,
        user=run.user,
        priority=run.priority,
        gpus=gpus,
        since=since,
        note="stopping" if run.reason == "Suspending" else "",
    )


def _gpus_of(pod_spec: Body) -> dict[str, int]:
    """By resource. Init containers run before the others, one after the other, so that the largest of them counts; not
    so those that stay."""
    first = pod_spec.get("initContainers") or ()
    staying = [one for one in first if one.get("restartPolicy") == "Always"]
    total: dict[str, int] = {}
    for container in (*(pod_spec.get("containers") or ()), *staying):
        for device, count in _asked(container).items():
            total[device] = total.get(device, 0) + count
    for container in first:
        for device, count in _asked(container).items():
            total[device] = max(total.get(device, 0), count)
    return {device: count for device, count in total.items() if count}


def _asked(container: Body) -> dict[str, int]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {device: _int(count) for device, count in asked.items() if is_gpu(device)}


def _int(value: Any) -> int:
    text = str(value)
    return int(text) if text.isdecimal() else 0


def avoided_by(statuses: Iterable[Body | None]) -> dict[str, str]:
    """Of Sweeps. By node: the cause for which all runs go past it."""
    found: dict[str, str] = {}
    for status in statuses:
        for one in (status or {}).get("avoidedNodes") or ():
            found.setdefault(str(one.get("node")), str(one.get("reason")))
    return found
