"""Whose turn it is, on the real cluster with its four GPUs: who is urgent gets one at once, and nobody pays for that
with a result; what two namespaces get of them is as their weights say."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.e2e.hub import read, reader_of
from tests.e2e.user import Body, User, experiment

GPUS = 4
LONG = {"epochs": 40}
"""Long enough that it is still learning when somebody urgent comes."""
CURVES = ("val/dice", "train/loss")


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


def _time(value: str) -> datetime:
    return datetime.fromisoformat(value)


def _starts(status: Body) -> list[datetime]:
    return [_time(attempt["startTime"]) for attempt in status.get("attempts", ()) if "startTime" in attempt]
