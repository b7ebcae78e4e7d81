"""Each way to search, to its end, under an operator that dies before and after every write."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from orkhaven.core.search import trial_params
from orkhaven.core.views import SweepView
from orkhaven.engine.parsers import PARSERS
from orkhaven.engine.ports import Kind
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Simulation, mixed
from tests.sim.test_crashes import AtWrite, Crash

LR = {"name": "lr", "range": {"min": 1, "max": 5, "step": 1}}
MODEL = {"name": "model", "values": ["unet", "fpn"]}
DEPTH = {"name": "depth", "range": {"min": 2, "max": 4, "scale": "Integer"}, "when": {"model": ["unet"]}}
WIDE = {"name": "drop", "range": {"min": 0, "max": 1}}
RULE = 'model != "fpn" or lr <= 2'

SEARCHES: dict[str, dict[str, Any]] = {
    "Grid": {"search": {"algorithm": "Grid", "seed": 3}, "parameters": [MODEL, DEPTH]},
    "Grid in sequence": {"search": {"algorithm": "Grid", "order": "Sequential"}, "parameters": [MODEL, DEPTH]},
    "Grid with all": {
        "search": {"algorithm": "Grid", "maxTrials": 5},
        "parameters": [LR, MODEL, DEPTH],
        "constraints": [RULE, "depth != 3"],
        "initialPoints": [{"model": "fpn"}, {"depth": 4, "lr": 3}],
    },
    "Grid with repeats": {
        "search": {"algorithm": "Grid", "repeats": 2, "maxTrials": 3},
        "parameters": [MODEL, DEPTH],
    },
    "Random": {"search": {"algorithm": "Random", "maxTrials": 4, "seed": 3}, "parameters": [LR, WIDE]},
    "Random with all": {
        "search": {"algorithm": "Random", "maxTrials": 5},
        "parameters": [LR, WIDE, MODEL],
        "constraints": [RULE, "drop < 0.05"],
        "initialPoints": [{"lr": 1, "drop": 0.01, "model": "fpn"}],
    },
    "Sobol": {"search": {"algorithm": "Sobol", "maxTrials": 4, "seed": 3}, "parameters": [LR, WIDE, MODEL]},
    "Sobol with all": {
        "search": {"algorithm": "Sobol", "maxTrials": 5},
        "parameters": [LR, WIDE, MODEL],
        "constraints": [RULE, "drop < 0.05"],
        "initialPoints": [{"model": "fpn"}],
    },
    "Sobol of a small space": {"search": {"algorithm": "Sobol", "maxTrials": 50}, "parameters": [MODEL, DEPTH]},
    "List": {
        "search": {"algorithm": "List"},
        "parameters": [],
        "trials": [{"lr": 1}, {"lr": 2}, {"lr": 1.0}, {"lr": 4}],
    },
}


def planned(body: Body) -> Counter[str]:
    """What the search itself says, in this process and from nothing."""
    view = PARSERS[Kind.SWEEP](body)
    assert isinstance(view, SweepView)
    assert view.spec is not None
    source = trial_params(view.spec, body["spec"]["template"]["params"])
    return Counter(
        json.dumps([source.params(index), seed], sort_keys=True)
        for index in range(source.total)
        for seed in range(view.spec.search.repeats)
    )


def tried(sim: Simulation) -> Counter[str]:
    return Counter(
        json.dumps([e["spec"]["params"], e["spec"].get("seed", 0)], sort_keys=True)
        for e in sim.cluster.all("Experiment")
    )


def run(spec: dict[str, Any], moment: str = "", fault: AtWrite | None = None) -> Simulation:
    sim = Simulation()
    if fault is not None:
        setattr(sim.cluster, moment, fault)
    sim.apply_sweep(**spec)
    sim.settle_over_crashes(mixed)
    return sim


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_every_trial_is_made_once_whenever_the_operator_dies(name: str, moment: str) -> None:
    undisturbed = run(SEARCHES[name])
    want = undisturbed.end_state()
    assert tried(undisturbed) == planned(undisturbed.sweep())
    assert set(tried(undisturbed).values()) == {1}
    assert undisturbed.sweep()["status"]["trials"]["total"] == len(tried(undisturbed)) >= 3
    writes = [(write.verb, write.kind) for write in undisturbed.cluster.writes]
    creations = [number for number, write in enumerate(writes) if write == ("create", "Experiment")]
    assert len(creations) == len(tried(undisturbed))
    for number in creations:
        fault = AtWrite(number, Crash)
        sim = run(SEARCHES[name], moment, fault)
        assert fault.happened
        assert sim.end_state() == want, f"{moment} write {number}"
        sim.check_quiet()


@pytest.mark.parametrize("made", [1, 3, 5])
def test_a_grid_begun_by_a_version_without_an_order_is_ended_by_this_one(made: int) -> None:
    values = list(range(8))
    sim = Simulation(lookahead=0)
    search = {"algorithm": "Grid", "order": "Sequential"}
    sim.apply_sweep(search=search, parameters=[{"name": "lr", "values": values}], parallelism=made)
    sim.step(lambda world, pod: None)
    names = {e["metadata"]["name"] for e in sim.cluster.all("Experiment")}
    assert len(names) == made
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"]["search"].pop("order"))
    sim.restart()
    sim.settle()
    assert sorted(e["spec"]["params"]["lr"] for e in sim.cluster.all("Experiment")) == values
    assert names <= {e["metadata"]["name"] for e in sim.cluster.all("Experiment")}
    assert sim.sweep()["status"]["state"] == "Succeeded"
    sim.check_quiet()
