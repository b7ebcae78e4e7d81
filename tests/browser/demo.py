"""A made-up but believable clinic: sweeps in every state, with curves, failures and attempts, in a fake cluster
and a real store. The same seed gives the same one.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from orkhaven.hub.lines import Line
from orkhaven.hub.storage.ingest import Ingest, Post, RunIdentity
from orkrun import contract
from tests.unit.hub.fakes import NAMESPACE, FakeCluster

NOW = datetime(2026, 9, 14, 15, 30, tzinfo=UTC)
METRIC = "val/dice_case"
ARCHITECTURES = {
    "Unet": 0.02, "UnetPlusPlus": 0.03, "MAnet": 0.015, "Linknet": -0.02, "FPN": 0.005, "PSPNet": -0.06,
    "DeepLabV3Plus": 0.01, "Segformer": 0.035,
}  # fmt: skip
LOSSES = {"dice_ce": 0.02, "focal": 0.0, "tversky": 0.012, "ce": -0.03}
GPUS = ("NVIDIA-A100-SXM4-80GB", "NVIDIA-L40S", "NVIDIA-H100-80GB-HBM3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    reason: str
    message: str
    suggestion: str
    exit_code: int
    excerpt: str


FAILURES = (
    Failure(
        reason="CudaOutOfMemory",
        message="torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has 79.15 GiB in all",
        suggestion="Use a smaller batch_size, or ask for a larger GPU with resources.minGpuMemory.",
        exit_code=1,
        excerpt='  File "ctseg/train/step.py", line 88, in train_step\n    loss.backward()\n'
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.25 GiB.",
    ),
    Failure(
        reason="Diverged",
        message="train/loss is NaN at step 412",
        suggestion="Lower optimizer.lr, or clip gradients (optimizer.clip).",
        exit_code=70,
        excerpt="step 411  loss 8.113e+04\nstep 412  loss nan\nDiverged: train/loss is NaN at step 412",
    ),
    Failure(
        reason="DataError",
        message="/data/ct/case_0117.nii.gz: <header> says 512x512x301, the file ends after 288 slices",
        suggestion="Copy the file again; `ctseg check` lists all that are short.",
        exit_code=65,
        excerpt="DataError: /data/ct/case_0117.nii.gz: <header> says 512x512x301, the file ends after 288 slices",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A sweep and how far it is."""

    name: str
    total: int
    succeeded: int = 0
    failed: int = 0
    running: int = 0
    state: str = "Running"
    algorithm: str = "Random"
    steps: int = 40
    hours_ago: float = 20.0
    owner: str | None = None
    namespace: str = NAMESPACE
    extra_params: dict[str, Any] = field(default_factory=dict)


PLANS = (
    Plan(name="covid-architectures", total=160, succeeded=96, failed=9, running=16, owner="m.okafor"),
    Plan(name="loss-study", total=48, succeeded=47, failed=1, state="Succeeded", hours_ago=75, owner="j.lindqvist"),
    Plan(name="window-width", total=64, succeeded=21, state="Suspended", hours_ago=31, owner="m.okafor"),
    Plan(name="segformer-long", total=24, succeeded=2, failed=12, state="Failed", hours_ago=9, owner="a.rahimi"),
    Plan(name="nightly", total=12, state="Pending", hours_ago=0.02),
    Plan(name="polyps", total=20, succeeded=20, state="Succeeded", namespace="pathology", hours_ago=300),
)
BIG = Plan(name="ten-thousand", total=10_000, succeeded=9_940, failed=60, state="Succeeded", steps=4, hours_ago=140)


def build(cluster: FakeCluster, ingest: Ingest, *, plans: Sequence[Plan] = PLANS, seed: int = 7) -> None:
    """All of `plans`, with what their runs reported."""
    rng = random.Random(seed)
    for plan in plans:
        posts: list[Post] = []
        experiments = list(_experiments(plan, rng))
        for body, lines in experiments:
            made = cluster.put("Experiment", **body)
            if lines:
                posts.append(Post(_identity(made), lines))
            if len(posts) >= 500:
                ingest.write(posts, now=NOW.timestamp())
                posts = []
        ingest.write(posts, now=NOW.timestamp())
        cluster.put("Sweep", **_sweep(plan, [body for body, _ in experiments]))


def _identity(body: dict[str, Any]) -> RunIdentity:
    meta = body["metadata"]
    return RunIdentity(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        sweep=meta["labels"][contract.LABEL_SWEEP],
        objective=METRIC,
        minimize=False,
    )


def _params(rng: random.Random) -> dict[str, Any]:
    loss = rng.choice(list(LOSSES))
    params: dict[str, Any] = {
        "model": {"architecture": rng.choice(list(ARCHITECTURES))},
        "optimizer": {"lr": float(f"{10 ** rng.uniform(-5, -2):.3g}"), "name": "adamw"},
        "batch_size": rng.choice([4, 8, 16]),
        "loss": {"name": loss},
        "augmentation": rng.choice(["none", "flips", "full"]),
        "epochs": 60,
    }
    if loss == "focal":
        params["loss"]["gamma"] = round(rng.uniform(1, 5), 2)
    return params


def _quality(params: dict[str, Any], rng: random.Random) -> float:
    off = math.log10(params["optimizer"]["lr"]) + 3.1
    augmentation = {"none": -0.025, "flips": 0.0, "full": 0.012}[params["augmentation"]]
    made = 0.735 + ARCHITECTURES[params["model"]["architecture"]] + LOSSES[params["loss"]["name"]] + augmentation
    return min(0.93, max(0.05, made - 0.075 * off * off + rng.gauss(0, 0.012)))


def _lines(quality: float, plan: Plan, rng: random.Random, *, share: float, started: datetime) -> tuple[Line, ...]:
    pace = rng.uniform(4, 9)
    made = []
    for step in range(1, max(1, int(plan.steps * share)) + 1):
        reach = 1 - math.exp(-pace * step / plan.steps)
        dice = quality * reach + rng.gauss(0, 0.008) * (1.1 - reach)
        metrics: list[tuple[str, float | None]] = [(METRIC, dice), ("val/loss", 1.1 - dice + rng.gauss(0, 0.01))]
        if plan.steps > 10:
            metrics += [
                ("train/loss", 1.0 - 0.97 * dice + rng.gauss(0, 0.006)),
                ("lr", 1e-3 * (1 + math.cos(math.pi * step / plan.steps)) / 2),
            ]
        time = started.timestamp() + 95.0 * step
        made.append(Line(step, 1, step, step, time, plan.steps, tuple(metrics)))
    return tuple(made)


def _experiments(plan: Plan, rng: random.Random) -> Iterator[tuple[dict[str, Any], tuple[Line, ...]]]:
    began = NOW - timedelta(hours=plan.hours_ago)
    created = min(plan.total, plan.succeeded + plan.failed + plan.running + 4) if plan.state == "Running" else None
    waiting = (created or plan.succeeded + plan.failed) - plan.succeeded - plan.failed - plan.running
    states = ["Succeeded"] * plan.succeeded + ["Failed"] * plan.failed + ["Running"] * plan.running
    rng.shuffle(states)
    states += ["Queued"] * waiting
    for number, state in enumerate(states):
        params = {**_params(rng), **plan.extra_params}
        quality = _quality(params, rng)
        started = began + timedelta(hours=plan.hours_ago * 0.9 * number / max(1, plan.total))
        share = {"Succeeded": 1.0, "Failed": rng.uniform(0.05, 0.5), "Running": rng.uniform(0.1, 0.9)}.get(state, 0.0)
        lines = _lines(quality, plan, rng, share=share, started=started) if share else ()
        name = f"{plan.name}-{rng.getrandbits(40):010x}"
        body = {
            "name": name,
            "namespace": plan.namespace,
            "metadata": {
                "labels": {contract.LABEL_SWEEP: plan.name, contract.LABEL_TRIAL: str(number)},
                "creationTimestamp": _text(started),
            },
            "spec": {
                "params": params,
                "seed": 0,
                "image": "registry.example/ctseg:0.1.0",
                "objective": {"metric": METRIC, "direction": "Maximize"},
                "resources": {"gpus": 1, "minGpuMemory": "24Gi"},
            },
            "status": _status(state, name, params, lines, plan, rng, started=started),
        }
        yield body, lines


def hashed(params: dict[str, Any]) -> str:
    """As the operator's: the same parameters, the same hash."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


def _status(
    state: str,
    name: str,
    params: dict[str, Any],
    lines: tuple[Line, ...],
    plan: Plan,
    rng: random.Random,
    *,
    started: datetime,
) -> dict[str, Any]:
    if state == "Queued":
        return {
            "state": state,
            "reason": "WaitingForGpus",
            "message": "waits for 1 GPU with 24Gi: all 16 of the sweep's parallelism are taken, 3rd in the queue",
            "conditions": [_condition("Queued", "WaitingForGpus", started)],
        }
    node = f"gpu-{rng.randrange(1, 7):02d}"
    attempt: dict[str, Any] = {
        "number": 1, "job": f"{name}-1", "pod": f"{name}-1-{rng.getrandbits(20):05x}", "node": node,
        "gpuModel": rng.choice(GPUS), "startTime": _text(started),
    }  # fmt: skip
    best = max(lines, key=lambda line: line.metrics[0][1] or 0.0)
    status: dict[str, Any] = {
        "state": state,
        "objective": {"value": float(f"{best.metrics[0][1]:.6g}"), "step": best.step},
        "progress": {"step": lines[-1].step, "totalSteps": plan.steps},
        "attempts": [attempt],
        "attemptCount": 1,
        "startTime": _text(started),
        "paramHash": hashed(params),
    }
    if state == "Running":
        status |= {"reason": "Training", "message": f"on {node}"}
        status["conditions"] = [_condition("Running", "Training", started)]
        return status
    ended = datetime.fromtimestamp(lines[-1].time, UTC)
    seconds = (ended - started).total_seconds()
    attempt |= {"endTime": _text(ended), "gpuSeconds": seconds, "exitCode": 0, "reason": "Completed"}
    status |= {"gpuSeconds": seconds, "completionTime": _text(ended), "reason": "Completed", "message": "all 40 epochs"}
    if state == "Failed":
        failure = rng.choices(FAILURES, weights=(5, 3, 1))[0]
        attempt |= {"exitCode": failure.exit_code, "reason": failure.reason, "message": failure.message}
        status |= {"reason": failure.reason, "message": failure.message}
        status["failure"] = {
            "reason": failure.reason, "message": failure.message, "excerpt": failure.excerpt,
            "suggestion": failure.suggestion,
        }  # fmt: skip
    status["conditions"] = [
        _condition("Finished", status["reason"], ended),
        _condition("Succeeded", status["reason"], ended, holds=state == "Succeeded"),
    ]
    return status


def _sweep(plan: Plan, experiments: list[dict[str, Any]]) -> dict[str, Any]:
    began = NOW - timedelta(hours=plan.hours_ago)
    ended = [body for body in experiments if body["status"]["state"] in ("Succeeded", "Failed")]
    good = [body for body in experiments if body["status"]["state"] == "Succeeded"]
    rows = sorted(good, key=lambda body: -body["status"]["objective"]["value"])[:10]
    leaders = [
        {"experiment": body["name"], **body["status"]["objective"], "params": body["spec"]["params"]} for body in rows
    ]
    spent = {
        state: sum(b["status"].get("gpuSeconds", 0) for b in ended if b["status"]["state"] == state) / 3600
        for state in ("Succeeded", "Failed")
    }
    status: dict[str, Any] = {
        "state": plan.state,
        "trials": {
            "total": plan.total, "created": len(experiments), "succeeded": plan.succeeded, "failed": plan.failed,
            "running": plan.running, "queued": len(experiments) - plan.succeeded - plan.failed - plan.running,
        },
        "progress": f"{len(ended)}/{plan.total}",
        "leaderboard": leaders,
        "failureClusters": _clusters(ended),
        "gpuHours": {
            "total": sum(spent.values()) + 11.2 * bool(plan.running), "succeeded": spent["Succeeded"],
            "failed": spent["Failed"],
        },
        "conditions": [_condition("Accepted", "Accepted", began)],
    }  # fmt: skip
    if leaders:
        status["best"] = leaders[0]
    if experiments:
        status["startTime"] = _text(began)
    if plan.state in ("Succeeded", "Failed"):
        status["completionTime"] = _text(NOW - timedelta(hours=plan.hours_ago * 0.1))
    if plan.state == "Failed":
        why = "12 trials failed, more than failurePolicy.maxFailedTrials allows (10)"
        status["conditions"].append({**_condition("Succeeded", "TooManyFailures", NOW, holds=False), "message": why})
    if plan.state == "Pending":
        status = {}
    labels = {"orkhaven.io/owner": plan.owner} if plan.owner else {}
    return {
        "name": plan.name,
        "namespace": plan.namespace,
        "metadata": {"labels": labels, "creationTimestamp": _text(began)},
        "spec": {
            "objective": {"metric": METRIC, "direction": "Maximize"},
            "search": {"algorithm": plan.algorithm, "maxTrials": plan.total, "seed": 7},
            "parameters": [
                {"name": "model.architecture", "values": list(ARCHITECTURES)},
                {"name": "optimizer.lr", "range": {"min": 1e-5, "max": 1e-2, "scale": "Log"}},
                {"name": "batch_size", "values": [4, 8, 16]},
                {"name": "loss.name", "values": list(LOSSES)},
                {"name": "loss.gamma", "range": {"min": 1, "max": 5}, "when": {"loss.name": ["focal"]}},
                {"name": "augmentation", "values": ["none", "flips", "full"]},
            ],
            "parallelism": 16,
            "suspend": plan.state == "Suspended",
            "failurePolicy": {"maxFailedTrials": 10},
            "template": {"params": {"epochs": 60, "optimizer": {"name": "adamw"}}},
        },
        "status": status,
    }


def _clusters(ended: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for failure in FAILURES:
        of_it = [body["name"] for body in ended if body["status"].get("reason") == failure.reason]
        if of_it:
            made.append(
                {
                    "reason": failure.reason, "count": len(of_it), "message": failure.message, "samples": of_it[:3],
                    "suggestion": failure.suggestion,
                }
            )  # fmt: skip
    return sorted(made, key=lambda cluster: -cluster["count"])


def _condition(kind: str, reason: str, moment: datetime, *, holds: bool = True) -> dict[str, Any]:
    return {
        "type": kind, "status": "True" if holds else "False", "reason": reason, "message": "",
        "lastTransitionTime": _text(moment),
    }  # fmt: skip


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
