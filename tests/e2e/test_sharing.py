"""Whose turn it is, on the real cluster with its four GPUs: who is urgent gets one at once, and nobody pays for that
with a result; what two namespaces get of them is as their weights say."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.hub import read, reader_of
from tests.e2e.user import Body, User, experiment, sweep
from tools.deploy import Deployment

GPUS = 4
LONG = {"epochs": 40}
"""Long enough that it is still learning when somebody urgent comes."""
CURVES = ("val/dice", "train/loss")
# Short, and no burden to the machine: what is measured is who got the GPUs, not the CPUs.
NAPS = [
    "python3",
    "-c",
    "import orkrun, time\nwith orkrun.run() as run:\n time.sleep(4)\n run.report(1, {'val/dice': 0.5}, total_steps=1)",
]


@pytest.mark.alone  # it takes all GPUs
def test_an_interactive_run_takes_the_gpus_of_a_preemptible_one_that_ends_as_if_undisturbed(user: User) -> None:
    whole = {"gpus": GPUS}
    user.apply(experiment("patient", params=LONG, priority="Preemptible", resources=whole))
    user.wait("experiment", "patient", lambda status: (status.get("progress") or {}).get("step", 0) >= 3)

    user.apply(experiment("urgent", params={"epochs": 1}, priority="Interactive"))
    user.wait("experiment", "urgent", lambda status: _starts(status) != [], timeout_s=90)
    urgent = user.wait_finished("experiment", "urgent")
    assert urgent["status"]["state"] == "Succeeded", urgent["status"]
    assert urgent["status"]["attemptCount"] == 1
    waited = _starts(urgent["status"])[0] - _time(urgent["metadata"]["creationTimestamp"])
    assert waited.total_seconds() <= 30

    patient = user.wait_finished("experiment", "patient")["status"]
    assert patient["state"] == "Succeeded", patient
    first, second = patient["attempts"]
    assert (first["reason"], first["exitCode"], second["reason"]) == ("Preempted", 143, "Completed")
    assert f"{user.namespace}/urgent" in first["message"]
    assert patient["retriesUsed"] == 0
    # Never both on one GPU: the urgent one began once the pod was gone, the other one once it was done.
    assert _time(first["endTime"]) <= _starts(urgent["status"])[0]
    said = user.kubectl("get", "events", "--field-selector=involvedObject.name=patient", "-o", "name")
    reasons = user.kubectl(
        "get", "events", "--field-selector=involvedObject.name=patient,reason=Preempted", "-o", "name"
    )
    assert len(reasons.split()) == 1, said

    # The same run in a folder of its own, and nobody disturbs it.
    user.apply(experiment("calm", params=LONG, dedupe="Never", resources=whole))
    calm = user.wait_finished("experiment", "calm")["status"]
    assert calm["attemptCount"] == 1
    assert patient["runHash"] == calm["runHash"]
    assert patient["objective"] == calm["objective"]
    with reader_of(user) as client:
        for name in CURVES:
            here = f"{user.namespace}/experiments"
            disturbed, undisturbed = (read(client, f"{here}/{run}/metrics/{name}") for run in ("patient", "calm"))
            assert disturbed["step"] == undisturbed["step"] == list(range(1, LONG["epochs"] + 1))
            assert disturbed["value"] == undisturbed["value"], name


@pytest.fixture
def other(deployment: Deployment, user: User, results: Path) -> Iterator[User]:
    """Somebody else, in a namespace beside the user's."""
    name = f"{user.namespace}-{uuid.uuid4().hex[:4]}"
    deployment.namespace(name, data=None, results=results.with_name(f"{results.name}-other"))
    yield User(deployment=deployment, namespace=name)
    deployment.cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.alone  # it takes all GPUs
def test_two_namespaces_share_the_gpus_as_their_weights_say(user: User, other: User, deployment: Deployment) -> None:
    for who, weight in ((user, "2"), (other, "1")):
        deployment.cluster.kubectl("annotate", "namespace", who.namespace, f"orkhaven.io/gpu-weight={weight}")
    rates = [rate * 1e-4 for rate in range(1, 37)]
    for who in (user, other):
        who.apply(
            sweep(
                "naps",
                [{"name": "optimizer.lr", "values": rates}],
                search={"algorithm": "Grid"},
                parallelism=GPUS,
                template={"command": NAPS},
            )
        )
    user.wait_finished("sweep", "naps")
    trials = {who.namespace: who.list("experiments", "orkhaven.io/sweep=naps") for who in (user, other)}
    # Both want more than they get from the first start of the later one to the last start of the one that is through.
    started = {
        name: [at for trial in found for at in _starts(trial.get("status", {}))] for name, found in trials.items()
    }
    since = max(min(starts) for starts in started.values())
    until = max(started[user.namespace])
    held = {name: sum(_held(trial, since, until) for trial in found) for name, found in trials.items()}
    # At each end of that time, each GPU may be off by one trial: 4 GPUs, one trial of nine each.
    assert 1.5 <= held[user.namespace] / held[other.namespace] <= 2.7, held
    assert all(trial["status"].get("retriesUsed", 0) == 0 for found in trials.values() for trial in found)


def _time(value: str) -> datetime:
    return datetime.fromisoformat(value)


def _starts(status: Body) -> list[datetime]:
    return [_time(attempt["startTime"]) for attempt in status.get("attempts", ()) if "startTime" in attempt]


def _held(trial: Body, since: datetime, until: datetime) -> float:
    """GPU-seconds of its attempts between two moments."""
    seconds = 0.0
    for attempt in trial.get("status", {}).get("attempts", ()):
        if "startTime" in attempt:
            start, end = _time(attempt["startTime"]), _time(attempt["endTime"]) if "endTime" in attempt else until
            seconds += max((min(end, until) - max(start, since)).total_seconds(), 0.0)
    return seconds
