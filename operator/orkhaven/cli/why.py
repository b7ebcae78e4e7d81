"""What `why` says beyond a run's own words: what it stands among.

For one that waits: the cluster, its namespace and quota; for one that was taken its GPUs: for whom; for one that is
suspended: by whom; for one that has failed: what else failed of the same. Each is left out where one may not read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orkhaven.cli.gpus import Seen, if_allowed, look
from orkhaven.cli.output import ago, printable
from orkhaven.cli.remedy import line_for, line_for_run
from orkhaven.cli.session import MANAGER, Session
from orkhaven.client.kube import Body, Kube

if TYPE_CHECKING:
    from orkhaven.api.sharing import Run

Facts = list[tuple[str, str]]

WEIGHT = "orkhaven.io/gpu-weight"
_TAKEN = ("Preempted", "Drained", "NodeLost")
_OF_THE_QUEUE = ("WaitingForGpus", "NoFittingNode", "Pending", "")
_BY = {
    MANAGER: "kubectl ork suspend",
    "orkhaven-dashboard": "the dashboard",
    "orkhaven-client": "a program with Orkhaven's Python client",
}
_OPERATOR = ("orkhaven", "orkhaven-operator")
"""As the API server calls it by the head of its requests, and as it calls itself."""


def standing(session: Session, body: Body) -> tuple[Facts, list[str]]:
    """What it stands among, and command lines for a person to copy."""
    from orkhaven.api.sharing import run_of

    status = body.get("status") or {}
    failed, held = status.get("state") == "Failed", bool(body["spec"].get("suspend"))
    sweep = _sweep_of(session.kube, body) if failed or held else None
    run = run_of(body)
    facts: Facts = []
    if run and run.waits:
        facts += [("since", f"{ago(run.since, now=session.now)} ago"), ("asks for", _asks(run, body["spec"]))]
        if run.queue:
            facts.append(("queue", f"Kueue's LocalQueue {run.queue} decides: kubectl get workloads -n {run.namespace}"))
        elif run.reason in _OF_THE_QUEUE and run.gpus:
            facts += _of_the_queue(session.kube, run)
    if run and (run.waits or held):
        facts += _taken(session, status)
    if run and held:
        facts.append(("by", _suspended_by(session, body, sweep)))
    if failed:
        facts.append(("alike", _alike(sweep, status)))
    return [(name, printable(words)) for name, words in facts if words], _steps(session, body, sweep)


def _steps(session: Session, body: Body, sweep: Body | None) -> list[str]:
    name, status = body["metadata"]["name"], body.get("status") or {}
    steps = [session.command("logs", name)] if any(one.get("pod") for one in status.get("attempts") or ()) else []
    if status.get("reason") in ("Suspended", "Suspending"):
        steps.append(session.command("resume", name))
    if status.get("reason") == "WaitingForGpus":
        steps.append(session.command("queue"))
    if status.get("state") == "Failed":
        cluster = _cluster(sweep, status)
        again = line_for(session, sweep, cluster) if sweep and cluster else line_for_run(session, body, sweep)
        steps.append(again)
    return steps


# --- one that waits ---


def _asks(run: Run, spec: Body) -> str:
    from orkhaven.api.sharing import gpus_in_words

    resources = spec.get("resources") or {}
    parts = [gpus_in_words(run.gpus) + ("" if run.device == "nvidia.com/gpu" else f" ({run.device})")]
    if resources.get("minGpuMemory"):
        parts.append(f"at least {resources['minGpuMemory']} each")
    models = resources.get("gpuModels") or []
    if allowed := [one for one in models if not one.startswith("!")]:
        parts.append(f"of model {' or '.join(allowed)}")
    if denied := [one[1:] for one in models if one.startswith("!")]:
        parts.append(f"not {' nor '.join(denied)}")
    return ", ".join(parts) + f"; priority {run.priority}" + (f"; made by {run.user}" if run.user else "")


def _of_the_queue(kube: Kube, run: Run) -> Facts:
    from orkhaven.api.holding import gpus_in_all

    seen = look(kube, but="Queued")
    return [
        ("cluster", gpus_in_all([node for node in seen.nodes if node.device == run.device])),
        ("namespace", _share(kube, run, seen)),
        ("quota", _quotas(kube, run)),
    ]


def _share(kube: Kube, run: Run, seen: Seen) -> str:
    from orkhaven.api.sharing import gpus_in_words

    namespace = if_allowed(lambda: kube.get("Namespace", run.namespace))
    annotations = ((namespace or {}).get("metadata") or {}).get("annotations") or {}
    weight = f"weight {annotations[WEIGHT]}" if WEIGHT in annotations else "weight 1, none is set"
    held = [one for one in seen.runs if one.holds]
    own = sum(one.gpus for one in held if one.namespace == run.namespace)
    told = f"{run.namespace} holds {gpus_in_words(own)}"
    if {one.namespace for one in held} - {run.namespace}:
        told += f" of the {sum(one.gpus for one in held)} that runs hold"
    return told + (f"; {weight}" if namespace else "")


def _quotas(kube: Kube, run: Run) -> str:
    key = f"requests.{run.device}"
    found = if_allowed(lambda: list(kube.each("ResourceQuota", namespace=run.namespace))) or []
    told = []
    for body in found:
        status = body.get("status") or {}
        hard, used = (status.get("hard") or {}).get(key), (status.get("used") or {}).get(key, "0")
        if hard is not None:
            told.append(f"{used} of {hard} GPUs are used (ResourceQuota {body['metadata']['name']})")
    return ", ".join(told)


# --- one that was stopped ---


def _taken(session: Session, status: Body) -> Facts:
    ended = [one for one in status.get("attempts") or () if one.get("endTime")]
    if not ended or ended[-1].get("reason") not in _TAKEN:
        return []
    last = ended[-1]
    checkpoint = status.get("checkpoint") or {}
    goes_on = f"; it goes on from step {checkpoint['step']}" if checkpoint else ""
    when = ago(last["endTime"], now=session.now)
    return [("stopped", f"{last['reason']} {when} ago: {last.get('message') or 'no more is known'}{goes_on}")]


def _suspended_by(session: Session, body: Body, sweep: Body | None) -> str:
    """Who has set spec.suspend: the API server notes programs, not people."""
    writer = next((one for one in body["metadata"].get("managedFields") or () if _has_suspend(one)), None)
    if writer is None:
        return ""
    manager = str(writer.get("manager") or "")
    when = f", {ago(writer['time'], now=session.now)} ago" if writer.get("time") else ""
    if manager in _OPERATOR and sweep is not None:
        return f"its sweep {sweep['metadata']['name']}{when}"
    return _BY.get(manager, manager) + when


def _has_suspend(writer: Body) -> bool:
    spec = (writer.get("fieldsV1") or {}).get("f:spec")
    return isinstance(spec, dict) and "f:suspend" in spec


# --- one that has failed ---


def _alike(sweep: Body | None, status: Body) -> str:
    cluster = _cluster(sweep, status)
    if sweep is None or cluster is None:
        return ""
    count, name = cluster.get("count", 1), sweep["metadata"]["name"]
    others = "no other trial" if count == 1 else "one other trial" if count == 2 else f"{count - 1} other trials"
    return f"{others} of {name} failed of the same ({cluster.get('id') or cluster.get('reason')})"


def _cluster(sweep: Body | None, status: Body) -> dict[str, Any] | None:
    wanted = (status.get("failure") or {}).get("cluster")
    found = ((sweep or {}).get("status") or {}).get("failureClusters") or ()
    return next((one for one in found if wanted and one.get("id") == wanted), None)


def _sweep_of(kube: Kube, body: Body) -> Body | None:
    name = (body["metadata"].get("labels") or {}).get("orkhaven.io/sweep")
    return if_allowed(lambda: kube.get("Sweep", name, namespace=body["metadata"]["namespace"])) if name else None
