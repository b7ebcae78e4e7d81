"""Kinds of GPUs: what a pod holds of them, which models will do, and that a place of one kind is none of another."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.api import Reason
from orkhaven.core.devices import GpuResource, asked_for, named, of_a_run, split_models
from orkhaven.core.parse import parse_job, parse_node, parse_pod
from orkhaven.core.queue import Needs, QueuePlan, Request, plan_queue, request_of
from orkhaven.core.queue.needs import unfit
from orkhaven.core.views import Defaults, Key, PodView
from tests.unit.core.world import START, Body, World, make_experiment, make_node, node_views

GPU, MIG, AMD = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "amd.com/gpu"
KINDS = (GpuResource(), GpuResource(MIG), GpuResource(AMD, ("amd.com/gpu.product-name", "example.com/vram")))
DEFAULTS = Defaults(image="trainer:1", output_claim="results", gpu_resources=KINDS)


@pytest.mark.parametrize(
    ("spec", "held"),
    [
        ({}, {}),
        ({"containers": [{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}, {}),
        ({"containers": [{"resources": {"limits": {GPU: "2"}}}, {"resources": {"requests": {GPU: 1}}}]}, {GPU: 3}),
        ({"containers": [{"resources": {"limits": {GPU: "2"}, "requests": {"cpu": "1"}}}]}, {GPU: 2}),
        ({"containers": [{"resources": {"limits": {MIG: "1", GPU: "1"}}}]}, {MIG: 1, GPU: 1}),
        (
            {
                "containers": [{"resources": {"limits": {GPU: "1"}}}],
                "initContainers": [{"resources": {"limits": {GPU: "3"}}}, {"resources": {"limits": {GPU: "2"}}}],
            },
            {GPU: 3},
        ),
        (
            {
                "containers": [{"resources": {"limits": {GPU: "1"}}}],
                "initContainers": [{"resources": {"limits": {GPU: "1"}}, "restartPolicy": "Always"}],
            },
            {GPU: 2},
        ),
        ({"containers": [{"resources": {"limits": {GPU: "many", "a/b": -1, "c/d": True}}}, 7, {"resources": 1}]}, {}),
        ({"containers": "x", "initContainers": None}, {}),
    ],
    ids=["nothing", "the cpu", "all containers", "limits only", "two kinds", "init", "a sidecar", "odd", "no lists"],
)
def test_what_a_pod_holds_is_what_the_scheduler_counts(spec: Body, held: dict[str, int]) -> None:
    assert asked_for(spec) == held


def test_of_a_run_s_pod_the_gpus_are_told_from_what_a_cluster_adds() -> None:
    limits = {"limits": {AMD: "2", "rdma/hca": "1"}}
    assert of_a_run({"containers": [{"resources": limits}]}) == (AMD, 2)
    assert of_a_run({"containers": [{"resources": {"limits": {GPU: "1", "acme.com/nic": "4"}}}]}) == (GPU, 1)
    assert of_a_run({}) == ("", 0)


def test_the_labels_are_those_of_feature_discovery_unless_the_settings_say_others() -> None:
    assert [kind.model_label for kind in KINDS] == [f"{GPU}.product", f"{MIG}.product", "amd.com/gpu.product-name"]
    assert [kind.memory_label for kind in KINDS] == [f"{GPU}.memory", f"{MIG}.memory", "example.com/vram"]
    assert named(None, KINDS) is KINDS[0]
    assert named(AMD, KINDS) is KINDS[2]
    assert named("gone.com/gpu", KINDS) == GpuResource("gone.com/gpu")


def test_models_that_will_do_and_those_that_will_not() -> None:
    assert split_models(["A100", "!T4", "H100"]) == (("A100", "H100"), ("T4",))


MODELS = [
    ((), "T4", True),
    (("A100",), "A100", True),
    (("A100",), "T4", False),
    (("A100",), None, False),
    (("!T4",), "T4", False),
    (("!T4",), "A100", True),
    (("!T4",), None, True),
    (("A100", "!T4"), "A100", True),
    (("A100", "!T4"), "H100", False),
]


@pytest.mark.parametrize(("models", "model", "fits"), MODELS)
def test_the_queue_and_the_scheduler_agree_on_models(models: tuple[str, ...], model: str | None, fits: bool) -> None:
    """The affinity in the Job is what the scheduler goes by."""
    body = make_node()
    body["metadata"]["labels"] = {f"{GPU}.product": model} if model else {}
    needs = Needs(gpus=1, gpu_models=models)
    assert (unfit(needs, parse_node(body)) is None) is fits
    terms = needs.affinity().get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    rules = [rule for term in terms for rule in term["matchExpressions"]]
    taken = all((model in rule["values"]) is (rule["operator"] == "In") for rule in rules)
    assert taken is fits


def test_a_job_asks_for_its_kind_and_goes_by_the_labels_of_that_kind() -> None:
    resources = {"gpus": 2, "gpuResource": AMD, "gpuModels": ["MI300X"], "minGpuMemory": "64Gi"}
    world = World(make_experiment(resources=resources), defaults=DEFAULTS)
    world.settle()
    pod = world.job["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {AMD: "2"}
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["nodeSelectorTerms"][0]["matchExpressions"] == [
        {"key": "amd.com/gpu.product-name", "operator": "In", "values": ["MI300X"]},
        {"key": "example.com/vram", "operator": "Gt", "values": ["65535"]},
    ]
    found = request_of(world.view(), parse_job(world.job), KINDS)
    assert found is not None
    assert (found.gpus, found.needs.resource, found.needs.kind) == (2, AMD, KINDS[2])


def test_the_model_of_an_attempt_is_that_of_its_kind() -> None:
    node = make_node(gpus=4, devices={MIG: 7}, labels={f"{MIG}.product": "A100-MIG-1g.10gb"})
    world = World(make_experiment(resources={"gpus": 1, "gpuResource": MIG}), defaults=DEFAULTS, nodes={"n1": node})
    world.run().settle()
    assert world.status["attempts"][0]["gpuModel"] == "A100-MIG-1g.10gb"


def test_what_the_spec_asks_for_by_now_is_not_what_its_job_will_hold() -> None:
    world = World(make_experiment(resources={"gpus": 2}), defaults=DEFAULTS)
    world.settle()
    world.experiment["spec"]["resources"] = {"gpus": 1, "gpuResource": MIG}
    found = request_of(world.view(), parse_job(world.job), KINDS)
    assert found is not None
    assert (found.gpus, found.needs.resource) == (2, GPU)


def test_a_kind_that_the_settings_do_not_name_is_refused_with_those_that_they_do() -> None:
    world = World(make_experiment(resources={"gpuResource": "intel.com/xe"}), defaults=DEFAULTS)
    status = world.settle()
    assert (status["state"], status["reason"]) == ("Failed", "InvalidSpec")
    assert status["message"] == (
        "spec.resources.gpuResource: intel.com/xe is none of the GPUs that this operator gives out: "
        f"{GPU}, {MIG}, {AMD}"
    )
    assert {c["type"]: c["status"] for c in status["conditions"]}["Accepted"] == "False"
    assert not world.jobs


def test_a_kind_that_is_taken_out_of_the_settings_ends_no_run_that_has_begun() -> None:
    world = World(make_experiment(resources={"gpuResource": MIG}), defaults=DEFAULTS)
    world.settle()
    world.defaults = Defaults(image="trainer:1", output_claim="results")
    assert world.settle()["state"] == "Queued"


# --- places ---


def request(name: str, gpus: int = 1, *, kind: GpuResource = KINDS[0], age: int = 0, **needs: Any) -> Request:
    return Request(
        job=Key("ns", f"{name}-1"),
        uid=f"uid-{name}-1",
        experiment=Key("ns", name),
        created=START - timedelta(seconds=age),
        needs=Needs(gpus=gpus, kind=kind, **needs),
    )


def pod_of(wanted: Request, node: str) -> PodView:
    limits = {"limits": {wanted.needs.resource: str(wanted.gpus)}}
    body = {
        "metadata": {
            "name": f"{wanted.job.name}-a",
            "namespace": "ns",
            "labels": {"batch.kubernetes.io/job-name": wanted.job.name},
        },
        "spec": {"containers": [{"resources": limits}], "nodeName": node},
        "status": {"phase": "Running"},
    }
    return parse_pod(body)


def plan(*waiting: Request, nodes: list[Body], **more: Any) -> QueuePlan:
    given: dict[str, Any] = {"pods": [], "foreign_gpus": {}, "running": [], "parallelism": {}, **more}
    return plan_queue(nodes=node_views(*nodes), waiting=waiting, now=START, **given)


def released(found: QueuePlan) -> list[str]:
    return [action.key.name.removesuffix("-1") for action in found.release]


def test_a_slice_and_a_whole_gpu_are_different_places() -> None:
    nodes = [make_node("n1", gpus=1, devices={MIG: 2})]
    asked = [request("w1", age=9), request("w2", age=8), *(request(f"m{n}", kind=KINDS[1]) for n in range(3))]
    found = plan(*asked, nodes=nodes)
    assert released(found) == ["w1", "m0", "m1"]
    assert found.reasons[Key("ns", "m2")].message == f"waits for 1 {MIG}: 0 of 2 free"
    held = [request("r", kind=KINDS[1])]
    found = plan(*asked, nodes=nodes, running=held, pods=[pod_of(held[0], "n1")])
    assert released(found) == ["w1", "m0"], "what runs on a slice holds no whole GPU"
    found = plan(*asked, nodes=nodes, foreign_gpus={"n1": {MIG: 2, "rdma/hca": 1}})
    assert released(found) == ["w1"]


def test_one_that_waits_for_many_slices_keeps_no_whole_gpu_from_anybody() -> None:
    nodes = [make_node("n1", gpus=2, devices={MIG: 4})]
    held = [request("r", kind=KINDS[1])]
    large, small, whole = request("l", 4, kind=KINDS[1], age=9), request("s", kind=KINDS[1]), request("w")
    found = plan(large, small, whole, nodes=nodes, running=held, pods=[pod_of(held[0], "n1")])
    assert released(found) == ["w"]


def test_a_kind_that_no_node_has_says_which_there_are() -> None:
    found = plan(request("a", kind=KINDS[2]), request("b"), nodes=[make_node("n1", devices={MIG: 2})])
    assert released(found) == ["b"]
    why = found.reasons[Key("ns", "a")]
    assert why.reason is Reason.NO_FITTING_NODE
    assert why.message == f"no node has 1 {AMD}: no node has {AMD} at all (devices here: {GPU}, {MIG})"


@pytest.mark.parametrize("left", [0, 1])
def test_while_a_device_plugin_is_away_a_run_waits_and_is_told_so_and_blocks_nobody(left: int) -> None:
    nodes = [make_node("n1", gpus=left, capacity={GPU: 4}), make_node("n2", gpus=1)]
    found = plan(request("x", 2, age=9), request("y"), nodes=nodes)
    assert released(found) == ["y"]
    why = found.reasons[Key("ns", "x")]
    assert why.reason is Reason.NO_FITTING_NODE
    assert why.message == (
        "no node has 2 GPUs on one node at the moment: "
        f"n1 has {left} of 4 fit for use; it starts once its device plugin offers them again"
    )


def test_what_runs_on_a_node_that_has_shrunk_holds_all_that_is_left_and_nothing_is_given_out_twice() -> None:
    held = [request("r1"), request("r2"), request("r3")]
    pods = [pod_of(one, "n1") for one in held]
    for gpus, free in ((2, 0), (0, 0), (3, 0), (4, 1)):
        found = plan(*(request(f"w{n}") for n in range(3)), nodes=[make_node("n1", gpus=gpus)], running=held, pods=pods)
        assert len(found.release) == free, gpus


def test_nothing_is_given_out_on_a_node_before_it_is_known_what_others_hold_there() -> None:
    nodes = [make_node("n1", gpus=2), make_node("n2", gpus=1)]
    found = plan(*(request(f"w{n}") for n in range(3)), nodes=nodes, unseen={"n1"})
    assert released(found) == ["w0"]
    assert found.reasons[Key("ns", "w1")].message.endswith(
        "; node n1 is new, and what others hold there is not known yet"
    )


def test_a_node_that_is_not_known_yet_is_kept_for_nobody() -> None:
    """Else the one that waits longest would keep it, and not the node that it will get."""
    nodes = [make_node("n1", gpus=4), make_node("n2", gpus=2)]
    foreign = {"n2": {GPU: 1}}
    found = plan(request("l", 2, age=9), request("s"), nodes=nodes, unseen={"n1"}, foreign_gpus=foreign)
    assert released(found) == []


def test_a_run_on_the_cpu_waits_for_no_gpu_and_takes_none() -> None:
    nodes = [make_node("n1", gpus=1), make_node("n2", gpus=0)]
    found = plan(request("c", 0, age=9), request("g"), nodes=nodes)
    assert released(found) == ["c", "g"]
    assert released(plan(request("c", 0), nodes=[])) == ["c"]


COUNTS = st.dictionaries(st.sampled_from([GPU, MIG, AMD]), st.integers(0, 3), max_size=3)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Body], dict[str, dict[str, int]], list[Request]]:
    nodes, foreign = [], {}
    for index in range(draw(st.integers(1, 3))):
        devices = draw(COUNTS)
        nodes.append(make_node(f"n{index}", gpus=devices.pop(GPU, 0), devices=devices))
        foreign[f"n{index}"] = draw(COUNTS)
    waiting = [
        request(f"w{index}", draw(st.integers(0, 3)), kind=draw(st.sampled_from(KINDS)), age=draw(st.integers(0, 3)))
        for index in range(draw(st.integers(0, 8)))
    ]
    return nodes, foreign, waiting


@given(clusters())
@settings(max_examples=200)
def test_of_no_kind_more_is_given_out_than_there_is(
    situation: tuple[list[Body], dict[str, dict[str, int]], list[Request]],
) -> None:
    nodes, foreign, waiting = situation
    found = plan(*waiting, nodes=nodes, foreign_gpus=foreign)
    by_name = {one.job: one for one in waiting}
    for kind in KINDS:
        given_out = sum(by_name[action.key].gpus for action in found.release if by_name[action.key].needs.kind == kind)
        free = sum(
            max(view.devices.get(kind.name, 0) - foreign[view.meta.key.name].get(kind.name, 0), 0)
            for view in node_views(*nodes)
        )
        assert given_out <= free
    assert len(found.release) + len(found.reasons) == len(waiting)
