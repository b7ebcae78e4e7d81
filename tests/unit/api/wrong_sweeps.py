"""Sweeps that are refused: one for each rule, and for each bound of a field."""

from __future__ import annotations

from tests.unit.api.cases import ABSENT, EARLY, LR, P, Wrong, drawn, ranged, stepped, stopping

WRONG_SWEEPS = [
    Wrong(
        "other parameters from the old checkpoint",
        {"spec.rerun": [{"id": "a", "fromCheckpoint": True, "overrides": {"params": {"batch_size": 4}}}]},
        "spec.rerun[0].fromCheckpoint",
        "other params or another image are another run",
    ),
    Wrong(
        "another image from the old checkpoint",
        {"spec.rerun": [{"id": "a", "fromCheckpoint": True, "overrides": {"image": "trainer:2"}}]},
        "spec.rerun[0].fromCheckpoint",
        "other params or another image are another run",
    ),
    Wrong(
        "a rerun's id that is no label",
        {"spec.rerun": [{"id": "OOM 1"}]},
        "spec.rerun[0].id",
        "lower-case letters, digits and '-' only",
    ),
    Wrong("a rerun without id", {"spec.rerun": [{"select": {}}]}, "spec.rerun[0].id", "Required", rule=False),
    Wrong(
        "an unknown rule of early stopping",
        stopping("Mean"),
        f"{EARLY}.algorithm",
        'supported values: "Median", "ASHA", "Hyperband", "Patience"',
        rule=False,
    ),
    Wrong("early stopping before the first step", stopping("ASHA", minSteps=0), f"{EARLY}.minSteps", "", rule=False),
    Wrong(
        "a reduction to all of them",
        stopping("ASHA", reductionFactor=1),
        f"{EARLY}.reductionFactor",
        "should be greater than or equal to 2",
        rule=False,
    ),
    Wrong(
        "a reduction by the median",
        stopping("Median", reductionFactor=3),
        f"{EARLY}.reductionFactor",
        "reductionFactor is for ASHA and Hyperband only",
    ),
    Wrong(
        "Hyperband of unknown length",
        stopping("Hyperband"),
        f"{EARLY}.maxSteps",
        "needs maxSteps: the steps of a whole",
    ),
    Wrong(
        "ASHA with a length", stopping("ASHA", maxSteps=27), f"{EARLY}.maxSteps", "Hyperband, and no other algorithm"
    ),
    Wrong(
        "Hyperband of one bracket",
        stopping("Hyperband", minSteps=10, maxSteps=29),
        f"{EARLY}.maxSteps",
        "maxSteps has to be at least minSteps times reductionFactor",
    ),
    Wrong(
        "startup trials of ASHA",
        stopping("ASHA", startupTrials=5),
        f"{EARLY}.startupTrials",
        "startupTrials is for Median only",
    ),
    Wrong("Patience without end", stopping("Patience"), f"{EARLY}.patience", "needs patience: steps without a better"),
    Wrong("a patient median", stopping("Median", patience=3), f"{EARLY}.patience", "Patience, and no other algorithm"),
    Wrong(
        "a circuit breaker of one failure",
        {"spec.failurePolicy": {"stopOnCluster": {"minFailures": 1}}},
        "spec.failurePolicy.stopOnCluster.minFailures",
        "greater than or equal to 2",
        rule=False,
    ),
    Wrong(
        "a circuit breaker of none at all",
        {"spec.failurePolicy": {"stopOnCluster": {"share": 0}}},
        "spec.failurePolicy.stopOnCluster.share",
        "a share of at least 0.05, such as 0.5",
    ),
    Wrong(
        "a circuit breaker of more than all",
        {"spec.failurePolicy": {"stopOnCluster": {"share": 1.5}}},
        "spec.failurePolicy.stopOnCluster.share",
        "less than or equal to 1",
        rule=False,
    ),
    Wrong("no objective", {"spec.objective": ABSENT}, "spec.objective", "Required", rule=False),
    Wrong("an empty metric", {"spec.objective.metric": ""}, "spec.objective.metric", "at least 1 char", rule=False),
    Wrong(
        "an unknown dedupe",
        {"spec.dedupe": "Always"},
        "spec.dedupe",
        'supported values: "Reuse", "Skip", "Never"',
        rule=False,
    ),
    Wrong(
        "an unknown direction",
        {"spec.objective.direction": "Up"},
        "spec.objective.direction",
        'supported values: "Maximize", "Minimize"',
        rule=False,
    ),
    Wrong(
        "an unknown algorithm",
        {"spec.search.algorithm": "Bayes"},
        "spec.search.algorithm",
        'supported values: "Grid", "Random", "Sobol", "TPE", "GP", "CMAES", "List"',
        rule=False,
    ),
    Wrong("no parameters", {P: ABSENT}, P, "every algorithm but List needs parameters"),
    Wrong("an empty list of parameters", {P: []}, P, "every algorithm but List needs parameters"),
    Wrong("Grid over a Log range", {P: [LR]}, P, "Grid needs values, or a range of at most 1000 numbers"),
    Wrong(
        "Grid over a Log range names it", {P: [{"name": "a", "values": [1]}, LR]}, P, 'such as Sobol or TPE): ["lr"]'
    ),
    Wrong(
        "Grid over too many integers",
        {P: [{"name": "a", "range": ranged(1, 1001, "Integer")}]},
        P,
        "of at most 1000 numbers",
    ),
    Wrong(
        "Random without maxTrials",
        {"spec.search.algorithm": "Random"},
        "spec.search",
        "needs search.maxTrials: how many",
    ),
    *(
        Wrong(
            f"{algorithm} without maxTrials",
            {"spec.search.algorithm": algorithm, P: [LR]},
            "spec.search",
            "needs search.maxTrials: how many",
        )
        for algorithm in ("Sobol", "TPE", "GP", "CMAES")
    ),
    Wrong(
        "CMAES over values",
        {"spec.search": {"algorithm": "CMAES", "maxTrials": 9}},
        P,
        "CMAES needs a range, and no when, in every parameter (values and conditions: algorithm TPE): "
        '["model.architecture", "batch_size"]',
    ),
    Wrong(
        "CMAES with a condition",
        {
            "spec.search": {"algorithm": "CMAES", "maxTrials": 9},
            P: [{"name": "depth", "range": ranged(1, 3, "Integer")}, {**LR, "when": {"depth": [1, 2]}}],
        },
        P,
        '(values and conditions: algorithm TPE): ["lr"]',
    ),
    Wrong(
        "an order of Random",
        {"spec.search": {"algorithm": "Random", "maxTrials": 5, "order": "Shuffled"}},
        "spec.search.order",
        "order is for algorithm Grid only",
    ),
    Wrong(
        "an unknown order",
        {"spec.search.order": "Random"},
        "spec.search.order",
        'supported values: "Shuffled", "Sequential"',
        rule=False,
    ),
    Wrong(
        "constraints of List",
        {"spec.search.algorithm": "List", P: ABSENT, "spec.trials": [{"a": 1}], "spec.constraints": ["a == 1"]},
        "spec.constraints",
        "leave constraints out, and the trials that break them",
    ),
    Wrong("an empty constraint", {"spec.constraints": [""]}, "spec.constraints[0]", "at least 1 char", rule=False),
    Wrong(
        "initial points of List",
        {"spec.search.algorithm": "List", P: ABSENT, "spec.trials": [{"a": 1}], "spec.initialPoints": [{"a": 1}]},
        "spec.initialPoints",
        "leave initialPoints out, and put them first in trials",
    ),
    Wrong(
        "an initial point that is no object",
        {"spec.initialPoints": [7]},
        "spec.initialPoints[0]",
        "must be of type object",
        rule=False,
    ),
    Wrong(
        "maxTrials of 0",
        {"spec.search.maxTrials": 0},
        "spec.search.maxTrials",
        "greater than or equal to 1",
        rule=False,
    ),
    Wrong(
        "List without trials",
        {"spec.search.algorithm": "List", P: ABSENT},
        "spec.trials",
        "List needs trials: at least one object",
    ),
    Wrong(
        "List with parameters",
        {"spec.search.algorithm": "List", "spec.trials": [{"a": 1}]},
        P,
        "List takes its parameters from trials: leave parameters out",
    ),
    Wrong("trials without List", {"spec.trials": [{"a": 1}]}, "spec.trials", "set search.algorithm: List"),
    Wrong(
        "a trial that is no object",
        {"spec.search.algorithm": "List", P: ABSENT, "spec.trials": [7]},
        "spec.trials[0]",
        "must be of type object",
        rule=False,
    ),
    Wrong("values and range", {P: [{"name": "a", "values": [1], "range": ranged(1, 2)}]}, f"{P}[0]", "not both"),
    Wrong("neither values nor range", {P: [{"name": "a"}]}, f"{P}[0]", "needs either values or range"),
    Wrong("empty values", {P: [{"name": "a", "values": []}]}, f"{P}[0].values", "at least 1 items", rule=False),
    Wrong("min above max", drawn({"name": "a", "range": ranged(2, 1)}), f"{P}[0].range.max", "min has to be below max"),
    Wrong(
        "min equal to max",
        drawn({"name": "a", "range": ranged(1, 1)}),
        f"{P}[0].range.max",
        "min has to be below max",
    ),
    Wrong("Log from 0", drawn({"name": "a", "range": ranged(0, 1, "Log")}), f"{P}[0].range.min", "needs min above 0"),
    Wrong(
        "Integer with a fraction",
        drawn({"name": "a", "range": ranged(0.5, 4, "Integer")}),
        f"{P}[0].range",
        "scale Integer needs whole numbers",
    ),
    Wrong("ends that are out of all proportion", drawn(stepped(-1e301, 1)), f"{P}[0].range", "both ends have to be"),
    Wrong("a step of 0", drawn(stepped(0, 1, step=0)), f"{P}[0].range.step", "step has to be above 0"),
    Wrong("a step below 0", drawn(stepped(0, 1, step=-0.1)), f"{P}[0].range.step", "step has to be above 0"),
    Wrong("a step wider than the range", drawn(stepped(0, 1, step=1.5)), f"{P}[0].range.step", "at most max - min"),
    Wrong("a step beyond counting", drawn(stepped(0, 1, step=1e-10)), f"{P}[0].range.step", "step is too small"),
    Wrong(
        "a step that no double shows",
        drawn(stepped(1e15, 1e15 + 10, step=0.1)),
        f"{P}[0].range.step",
        "each seen in 12 digits",
    ),
    Wrong("a step of Log", drawn(stepped(1, 8, "Log", step=1)), f"{P}[0].range.step", "scale Log takes no step"),
    Wrong(
        "a broken step of Integer",
        drawn(stepped(1, 8, "Integer", step=1.5)),
        f"{P}[0].range.step",
        "scale Integer needs a whole step",
    ),
    Wrong("Grid over too many steps", {P: [stepped(0, 100, step=0.1)]}, P, "at most 1000 numbers"),
    Wrong(
        "an unknown scale",
        drawn({"name": "a", "range": ranged(1, 2, "Exp")}),
        f"{P}[0].range.scale",
        'supported values: "Linear", "Log", "Integer"',
        rule=False,
    ),
    Wrong(
        "a range of text",
        drawn({"name": "a", "range": {"min": "low", "max": 1}}),
        f"{P}[0].range.min",
        "number",
        rule=False,
    ),
    Wrong(
        "a parameter name with a space",
        {P: [{"name": "learning rate", "values": [1]}]},
        f"{P}[0].name",
        "a dotted path such as optimizer.lr",
    ),
    Wrong(
        "a parameter twice",
        {P: [{"name": "a", "values": [1]}, {"name": "b", "values": [1]}, {"name": "a", "values": [2]}]},
        P,
        'every parameter may stand only once: ["a", "a"]',
    ),
    Wrong(
        "a parameter above another",
        {P: [{"name": "model.encoder", "values": [1]}, {"name": "model", "values": [2]}]},
        P,
        'cannot be a value and an object at once: remove it or what is below it: ["model"]',
    ),
    Wrong(
        "when names nothing",
        {P: [{"name": "a", "values": [1], "when": {"loss": ["focal"]}}]},
        P,
        'when may only name parameters that stand before this one: ["a"]',
    ),
    Wrong(
        "when names a later one",
        {P: [{"name": "g", "values": [1], "when": {"loss": ["focal"]}}, {"name": "loss", "values": ["focal", "dice"]}]},
        P,
        'stand before this one: ["g"]',
    ),
    Wrong(
        "when names itself",
        {P: [{"name": "a", "values": [1, 2], "when": {"a": [1]}}]},
        P,
        "when may only name parameters that stand before this one",
    ),
    Wrong(
        "parallelism below 0", {"spec.parallelism": -1}, "spec.parallelism", "greater than or equal to 0", rule=False
    ),
    Wrong(
        "failed trials below 0",
        {"spec.failurePolicy.maxFailedTrials": -1},
        "spec.failurePolicy.maxFailedTrials",
        "greater than or equal to 0",
        rule=False,
    ),
    Wrong(
        "a misspelt field", {"spec.paralellism": 3}, "spec.paralellism", 'unknown field "spec.paralellism"', rule=False
    ),
    Wrong(
        "a wrong template",
        {"spec.template.resources": {"memory": "16 GB"}},
        "spec.template.resources.memory",
        "at least 1Mi, such as 16Gi",
    ),
    Wrong(
        "a suspend inside the template",
        {"spec.template.suspend": True},
        "spec.template.suspend",
        'unknown field "spec.template.suspend"',
        rule=False,
    ),
]
