"""Single runs by name, and the folders that they write into."""

from __future__ import annotations

import json
from typing import Any

from orkhaven.core.parse import ANNOTATION_PREEMPTED
from orkrun.contract import ANNOTATION_CONFIG
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Simulation
from tests.sim.world import finished


def folder_of(job: Body) -> str:
    template = job["spec"]["template"]
    config = json.loads(template["metadata"]["annotations"][ANNOTATION_CONFIG])
    (volume,) = [v for v in template["spec"]["volumes"] if v["name"] == "output"]
    return f"{volume['persistentVolumeClaim']['claimName']}:{config['output']}"


def check_folders(sim: Simulation) -> None:
    """No two Jobs that may have pods in one folder."""
    there = {body["metadata"]["uid"] for body in sim.cluster.look("Experiment")}
    live = [
        folder_of(job)
        for job in sim.cluster.look("Job")
        if not finished(job)
        and not job["spec"].get("suspend")
        # One whose Experiment is gone has only the garbage collector to wait for.
        and job["metadata"]["ownerReferences"][0]["uid"] in there
    ]
    assert len(live) == len(set(live)), sim.describe()


def run_by_hand(sim: Simulation, name: str = "alone", **spec: Any) -> Body:
    return sim.cluster.add(
        {
            "apiVersion": "orkhaven.io/v1alpha1",
            "kind": "Experiment",
            "metadata": {"namespace": NAMESPACE, "name": name},
            "spec": {
                "params": {"model": "unet", "encoder": None, "lr": 1},
                "resources": {"gpus": 1},
                "objective": {"metric": "val/dice"},
                **spec,
            },
        }
    )


def status(sim: Simulation, name: str) -> Body:
    found = sim.cluster.find("Experiment", NAMESPACE, name)
    assert found is not None
    return dict(found.get("status", {}))


def preempt_job(sim: Simulation, job: Body) -> None:
    """The one write by which the queue takes the GPUs of a Job back."""

    def change(body: Body) -> None:
        body["metadata"].setdefault("annotations", {})[ANNOTATION_PREEMPTED] = "gives 1 GPU to radiology/urgent"
        body["spec"]["suspend"] = True

    sim.cluster.change("Job", NAMESPACE, job["metadata"]["name"], change)
