"""What may change of a resource that is there, and what may not: the CRDs' transition rules in a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster import Cluster
from tests.integration.resources import assert_refused, create, put
from tests.unit.api.cases import ABSENT, changed, experiment, sweep

pytestmark = pytest.mark.cluster

TWO_VOLUMES = [{"name": name, "claim": name, "mountPath": f"/{name}"} for name in ("ct", "masks")]
NEW_SWEEP, NEW_EXPERIMENT = "make a new Sweep", "make a new Experiment"
FROZEN = [
    ("Sweep", {"spec.objective.metric": "val/iou"}, "spec.objective.metric", NEW_SWEEP),
    ("Sweep", {"spec.objective.direction": "Minimize"}, "spec.objective.direction", NEW_SWEEP),
    ("Sweep", {"spec.search.seed": 3}, "spec.search.seed", NEW_SWEEP),
    ("Sweep", {"spec.search": {"algorithm": "Random", "maxTrials": 9}}, "spec.search.algorithm", NEW_SWEEP),
    ("Sweep", {"spec.search.order": "Shuffled"}, "spec.search.order", NEW_SWEEP),
    ("Sweep", {"spec.search.repeats": 2}, "spec.search.repeats", NEW_SWEEP),
    ("Sweep", {"spec.constraints": ["batch_size > 4"]}, "spec.constraints", NEW_SWEEP),
    ("Sweep", {"spec.initialPoints": [{"batch_size": 8}]}, "spec.initialPoints", NEW_SWEEP),
    ("Sweep", {"spec.parameters": [{"name": "batch_size", "values": [4, 8]}]}, "spec.parameters", NEW_SWEEP),
    ("Sweep", {"spec.parameters": list(reversed(sweep()["spec"]["parameters"]))}, "spec.parameters", NEW_SWEEP),
    ("Sweep", {"spec.template.params": {"epochs": 4}}, "spec.template", NEW_SWEEP),
    ("Sweep", {"spec.template.params": {"epochs": "3"}}, "spec.template", NEW_SWEEP),
    ("Sweep", {"spec.template.image": "other:1"}, "spec.template", NEW_SWEEP),
    ("Sweep", {"spec.dedupe": "Never"}, "spec.dedupe", NEW_SWEEP),
    ("Sweep", {"spec.earlyStopping": {"algorithm": "ASHA"}}, "spec.earlyStopping", "its rule is fixed"),
    ("Experiment", {"spec.rungs": [1]}, "spec.rungs", NEW_EXPERIMENT),
    ("Experiment", {"spec.params.epochs": 4}, "spec.params", NEW_EXPERIMENT),
    ("Experiment", {"spec.params.model": {"architecture": "Unet"}}, "spec.params", NEW_EXPERIMENT),
    ("Experiment", {"spec.params": ABSENT}, "spec.params", NEW_EXPERIMENT),
    ("Experiment", {"spec.seed": 1}, "spec.seed", NEW_EXPERIMENT),
    ("Experiment", {"spec.image": "other:1"}, "spec.image", NEW_EXPERIMENT),
    ("Experiment", {"spec.command": ["sleep", "9"]}, "spec.command", NEW_EXPERIMENT),
    ("Experiment", {"spec.data": ABSENT}, "spec.data", NEW_EXPERIMENT),
    ("Experiment", {"spec.data": list(reversed(TWO_VOLUMES))}, "spec.data", NEW_EXPERIMENT),
    ("Experiment", {"spec.data": [{"name": "ct", "claim": "other"}]}, "spec.data", NEW_EXPERIMENT),
    ("Experiment", {"spec.output.claim": "results"}, "spec.output", NEW_EXPERIMENT),
    ("Experiment", {"spec.objective": ABSENT}, "spec.objective", NEW_EXPERIMENT),
    ("Experiment", {"spec.dedupe": "Reuse"}, "spec.dedupe", NEW_EXPERIMENT),
]


@pytest.mark.parametrize(
    ("kind", "changes", "path", "message"),
    FROZEN,
    ids=[f"{kind}: {', '.join(changes)}" for kind, changes, _, _ in FROZEN],
)
def test_what_a_run_is_never_changes(
    cluster: Cluster, namespace: str, kind: str, changes: dict[str, Any], path: str, message: str
) -> None:
    body = sweep() if kind == "Sweep" else experiment({"spec.data": TWO_VOLUMES})
    status, stored = create(cluster, namespace, body)
    assert status == 201, stored
    assert_refused(*put(cluster, namespace, changed(stored, changes)), path, message)


LIVE = [
    ("Sweep", {"spec.parallelism": 1}),
    ("Sweep", {"spec.objective.goal": 0.8}),
    ("Sweep", {"spec.canary": 2}),
    ("Sweep", {"spec.suspend": True}),
    ("Sweep", {"spec.failurePolicy.maxFailedTrials": 3}),
    ("Sweep", {"spec.ttlSecondsAfterFinished": 60}),
    ("Experiment", {"spec.suspend": True}),
    ("Experiment", {"spec.ttlSecondsAfterFinished": 60}),
    ("Experiment", {"spec.prune": {"step": 3, "message": "enough"}}),
    ("Experiment", {"spec.retry.limit": 5}),
    ("Experiment", {"spec.maxRunTime": "6h"}),
    ("Experiment", {"spec.resources.memory": "32Gi"}),
    ("Experiment", {"spec.env": [{"name": "A", "value": "b"}]}),
    ("Experiment", {"spec.nodeSelector": {"zone": "a"}}),
    ("Experiment", {"spec.tolerations": [{"key": "spot", "operator": "Exists"}]}),
]


@pytest.mark.parametrize(("kind", "changes"), LIVE, ids=[f"{kind}: {', '.join(changes)}" for kind, changes in LIVE])
def test_how_it_is_run_stays_live(cluster: Cluster, namespace: str, kind: str, changes: dict[str, Any]) -> None:
    _, stored = create(cluster, namespace, sweep() if kind == "Sweep" else experiment())
    status, answer = put(cluster, namespace, changed(stored, changes))
    assert status == 200, answer


@pytest.mark.parametrize(
    ("before", "after", "fine"),
    [(10, 20, True), (10, 10, True), (10, None, True), (10, 9, False), (None, 9, False)],
    ids=["up", "the same", "to all", "down", "down from all"],
)
def test_max_trials_only_rises(
    cluster: Cluster, namespace: str, before: int | None, after: int | None, fine: bool
) -> None:
    _, stored = create(cluster, namespace, sweep({"spec.search.maxTrials": before or ABSENT}))
    status, answer = put(cluster, namespace, changed(stored, {"spec.search.maxTrials": after or ABSENT}))
    if fine:
        assert status == 200, answer
    else:
        assert_refused(status, answer, "spec.search.maxTrials", "may only rise")


ARCHITECTURES = {"name": "model.architecture", "values": ["Unet", "FPN"]}
SIZES = {"name": "batch_size", "values": [4, 8]}
FOCAL = {"name": "loss.gamma", "values": [1.0, {"a": None}], "when": {"model.architecture": ["FPN"]}}
STEPS = {"name": "lr", "range": {"min": 0, "max": 1, "step": 0.5}}
GRID = [ARCHITECTURES, SIZES, FOCAL, STEPS]


@pytest.mark.parametrize(
    ("after", "fine"),
    [
        ([ARCHITECTURES, {**SIZES, "values": [4, 8, 16, 2]}, FOCAL, STEPS], True),
        ([ARCHITECTURES, SIZES, {**FOCAL, "values": [1.0, {"a": None}, 3]}, STEPS], True),
        ([ARCHITECTURES, {**SIZES, "values": [8]}, FOCAL, STEPS], True),
        ([ARCHITECTURES, SIZES, FOCAL, {"name": "lr", "range": {"min": 0, "max": 2, "step": 0.5}}], True),
        ([ARCHITECTURES, {**SIZES, "name": "size"}, FOCAL, STEPS], False),
        ([ARCHITECTURES, SIZES, {**FOCAL, "when": {"model.architecture": ["Unet"]}}, STEPS], False),
        ([ARCHITECTURES, SIZES, {"name": "loss.gamma", "values": [1.0, {"a": None}]}, STEPS], False),
        ([ARCHITECTURES, SIZES, FOCAL], False),
        ([*GRID, {"name": "more", "values": [1]}], False),
        ([SIZES, ARCHITECTURES, FOCAL, STEPS], False),
    ],
    ids=[
        "more values", "more values of a conditional one", "fewer values", "a wider range", "another name",
        "another when", "no when", "a parameter less", "a parameter more", "another order",
    ],
)  # fmt: skip
def test_a_grid_may_get_other_values_and_nothing_else(
    cluster: Cluster, namespace: str, after: list[dict[str, Any]], fine: bool
) -> None:
    status, stored = create(cluster, namespace, sweep({"spec.parameters": GRID}))
    assert status == 201, stored
    status, answer = put(cluster, namespace, changed(stored, {"spec.parameters": after}))
    if fine:
        assert status == 200, answer
    else:
        assert_refused(status, answer, "spec.parameters", "immutable but for a Grid's values")


def test_a_random_search_never_gets_other_values(cluster: Cluster, namespace: str) -> None:
    _, stored = create(cluster, namespace, sweep({"spec.search": {"algorithm": "Random", "maxTrials": 3}}))
    more = [ARCHITECTURES, {**SIZES, "values": [4, 8, 16]}]
    assert_refused(*put(cluster, namespace, changed(stored, {"spec.parameters": more})), "spec.parameters", "immutable")


MEDIAN = {"algorithm": "Median", "minSteps": 2}
HYPERBAND = {"algorithm": "Hyperband", "maxSteps": 27}


@pytest.mark.parametrize(
    ("before", "after", "fine"),
    [
        (MEDIAN, {**MEDIAN, "startupTrials": 9}, True),
        ({**MEDIAN, "startupTrials": 9}, MEDIAN, True),
        ({"algorithm": "Patience", "patience": 3}, {"algorithm": "Patience", "patience": 9}, True),
        (MEDIAN, None, True),
        (MEDIAN, {**MEDIAN, "minSteps": 3}, False),
        (MEDIAN, {**MEDIAN, "algorithm": "ASHA"}, False),
        (HYPERBAND, {**HYPERBAND, "maxSteps": 81}, False),
        (HYPERBAND, {**HYPERBAND, "reductionFactor": 3}, False),
        (HYPERBAND, {"algorithm": "ASHA"}, False),
        (None, MEDIAN, False),
    ],
    ids=[
        *("startup trials", "the usual startup trials", "patience", "taken out"),
        *("first rung", "algorithm", "length", "factor", "less", "put in"),
    ],
)
def test_of_early_stopping_what_trials_note_their_values_by_is_fixed(
    cluster: Cluster, namespace: str, before: dict[str, Any] | None, after: dict[str, Any] | None, fine: bool
) -> None:
    _, stored = create(cluster, namespace, sweep({"spec.earlyStopping": before or ABSENT}))
    status, answer = put(cluster, namespace, changed(stored, {"spec.earlyStopping": after or ABSENT}))
    if fine:
        assert status == 200, answer
    else:
        assert_refused(status, answer, "spec.earlyStopping", "only startupTrials and patience may change")
