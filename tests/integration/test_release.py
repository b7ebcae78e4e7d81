"""What the operator relies on where it lets a Job go: the same write says where it may not go and where it should."""

from __future__ import annotations

import pytest

from orkhaven.core.job import HOSTNAME, build_job
from orkhaven.core.parse import ANNOTATION_AVOID, parse_experiment, parse_job
from orkhaven.core.queue import Needs
from orkhaven.core.views import Defaults
from orkhaven.engine.executor import placed_release
from tests.cluster import Cluster
from tests.unit.core.world import make_experiment

pytestmark = pytest.mark.cluster

JOBS = "/apis/batch/v1/namespaces/{}/jobs"


@pytest.mark.parametrize(
    ("made_with", "avoid"),
    [((), ("node-a",)), (("node-a",), ()), (("node-a",), ("node-b", "node-c"))],
    ids=["a node has become suspect", "it is trusted again", "others have"],
)
def test_a_suspended_job_is_told_where_it_may_not_go_when_it_is_released(
    cluster: Cluster, namespace: str, made_with: tuple[str, ...], avoid: tuple[str, ...]
) -> None:
    body = build_job(
        parse_experiment(make_experiment(resources={"gpus": 1, "gpuModels": ["A100"]})),
        attempt=1,
        defaults=Defaults(image="trainer:1"),
        param_hash="a" * 64,
        run_hash="b" * 64,
        avoid=made_with,
        shun=("node-z",),
    )
    del body["metadata"]["ownerReferences"]
    body["metadata"]["namespace"] = namespace
    cluster.api.call("POST", JOBS.format(namespace), body)
    path = f"{JOBS.format(namespace)}/x-1"
    affinity = Needs(gpus=1, gpu_models=("A100",), avoid=avoid).affinity(prefer="node-p")
    cluster.api.patch(path, placed_release(avoid, affinity))
    job = cluster.api.get(path)
    assert job is not None
    assert job["spec"]["suspend"] is False
    assert (parse_job(job).avoid, parse_job(job).meant_for) == (avoid, "node-p")
    assert job["metadata"].get("annotations", {}).get(ANNOTATION_AVOID, "") == ",".join(avoid)
    found = job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = found["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    past = [one["values"] for one in term["matchExpressions"] if one["key"] == HOSTNAME]
    assert past == ([list(avoid)] if avoid else [])
    (wish,) = found["preferredDuringSchedulingIgnoredDuringExecution"]
    (field,) = wish["preference"]["matchFields"]
    assert (field["key"], field["values"]) == ("metadata.name", ["node-p"])
