"""Sweep: a search over parameters; it becomes Experiments."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from orkhaven.api.experiment import Json, Objective, RunTemplate
from orkhaven.api.meta import Condition, Model, Number, StatusModel

MAX_SWEEP_NAME = 46
"""Characters: "-" + 10 of the hash + "-" + attempt have to fit into a Job's 63."""

ParameterName = Annotated[
    str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$", min_length=1, max_length=128)
]


class Algorithm(StrEnum):
    GRID = "Grid"
    RANDOM = "Random"
    LIST = "List"


class Scale(StrEnum):
    LINEAR = "Linear"
    LOG = "Log"
    INTEGER = "Integer"


class Search(Model):
    """Which combinations are tried, and in which order."""

    algorithm: Annotated[
        Algorithm,
        Field(
            description="Grid: every combination of `values`. Random: drawn by `seed`. List: `trials` as they stand."
        ),
    ] = Algorithm.GRID
    max_trials: Annotated[
        int | None,
        Field(
            description="Most trials that are made. Random needs it; Grid and List default to all.", ge=1, le=100_000
        ),
    ] = None
    seed: Annotated[
        int, Field(description="Seed of Random: the same seed gives the same trials.", ge=0, le=2**31 - 1)
    ] = 0


class Range(Model):
    """An interval, both ends included."""

    min: Annotated[Number, Field(description="Smallest value.")]
    max: Annotated[Number, Field(description="Largest value.")]
    scale: Annotated[
        Scale, Field(description="Linear, Log (both ends above 0) or Integer (whole numbers, evenly).")
    ] = Scale.LINEAR


class Parameter(Model):
    """One dimension of the search."""

    name: Annotated[
        ParameterName, Field(description="Dotted path into template.params: optimizer.lr sets params.optimizer.lr.")
    ]
    values: Annotated[
        list[Json] | None, Field(description="The values to try: any JSON.", min_length=1, max_length=1000)
    ] = None
    range: Annotated[Range | None, Field(description="The interval to draw from.")] = None
    when: Annotated[
        dict[str, Annotated[list[Json], Field(min_length=1, max_length=100)]],
        Field(
            description="Only set where each named parameter has one of these values; left out elsewhere. "
            "The named parameters have to stand before this one.",
            max_length=8,
        ),
    ] = {}


class FailurePolicy(Model):
    """When to give up on the whole sweep."""

    max_failed_trials: Annotated[
        int | None,
        Field(
            description="More failed trials than this end the sweep: no more are started, running ones finish.", ge=0
        ),
    ] = None


class SweepSpec(Model):
    """What to search, how, and what all trials share."""

    objective: Annotated[Objective, Field(description="What trials are ranked by.")]
    search: Annotated[Search, Field(description="Which combinations are tried.")] = Search()
    parameters: Annotated[list[Parameter], Field(description="The dimensions of the search.", max_length=64)] = []
    trials: Annotated[
        list[dict[str, Json]],
        Field(
            description="For List: parameter objects laid over template.params, nested or with dotted names.",
            max_length=10_000,
        ),
    ] = []
    parallelism: Annotated[
        int, Field(description="Most trials that hold GPUs at once. 0 pauses; lowering it drains.", ge=0, le=10_000)
    ] = 4
    suspend: Annotated[
        bool, Field(description="Save checkpoints, give all GPUs back, start nothing; false goes on.")
    ] = False
    failure_policy: Annotated[FailurePolicy, Field(description="When to give up.")] = FailurePolicy()
    ttl_seconds_after_finished: Annotated[
        int | None,
        Field(
            description="Seconds after the end until the sweep and its trials are deleted; results stay. Unset: never.",
            ge=0,
        ),
    ] = None
    template: Annotated[RunTemplate, Field(description="What all trials share.")] = RunTemplate()


class SweepState(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class TrialCounts(StatusModel):
    total: Annotated[int, Field(description="Trials that the search will make.")] = 0
    created: Annotated[int, Field(description="Experiments made so far.")] = 0
    queued: Annotated[int, Field(description="Waiting for a GPU.")] = 0
    running: Annotated[int, Field(description="Starting or running.")] = 0
    suspended: Annotated[int, Field(description="Suspended.")] = 0
    succeeded: Annotated[int, Field(description="Ended with the objective.")] = 0
    failed: Annotated[int, Field(description="Ended without.")] = 0


class LeaderboardRow(StatusModel):
    experiment: Annotated[str, Field(description="Name of the Experiment.", max_length=63)]
    value: Annotated[float, Field(description="Its best value of the objective.")]
    step: Annotated[int | None, Field(description="Step that reached it.")] = None
    params: Annotated[dict[str, Json], Field(description="The parameters that vary in this sweep.")] = {}


class FailureCluster(StatusModel):
    """The failures of one cause."""

    reason: Annotated[str, Field(description="The cause.", max_length=64)]
    count: Annotated[int, Field(description="Trials that died of it.")]
    message: Annotated[str, Field(description="What the latest of them said.", max_length=1024)] = ""
    samples: Annotated[
        list[Annotated[str, Field(max_length=63)]], Field(description="Up to 3 Experiments.", max_length=3)
    ] = []
    suggestion: Annotated[str, Field(description="What a person would do about it.", max_length=1024)] = ""


class GpuHours(StatusModel):
    succeeded: Annotated[float, Field(description="By trials that ended well.")] = 0
    failed: Annotated[float, Field(description="By trials that failed.")] = 0
    running: Annotated[float, Field(description="By finished attempts of trials that have not ended.")] = 0


class SweepStatus(StatusModel):
    """What became of it: counters, ten leaders, the causes of failure. Never a list of all trials."""

    observed_generation: Annotated[int | None, Field(description="Generation of the spec that was looked at.")] = None
    conditions: Annotated[
        list[Condition], Field(description="Accepted, Running, Suspended, Finished, Succeeded.", max_length=16)
    ] = []
    state: Annotated[SweepState | None, Field(description="One word, derived from the conditions.")] = None
    trials: Annotated[TrialCounts, Field(description="Trials by state.")] = TrialCounts()
    progress: Annotated[str, Field(description="Ended / total.", max_length=32)] = ""
    best: Annotated[LeaderboardRow | None, Field(description="Who leads.")] = None
    leaderboard: Annotated[list[LeaderboardRow], Field(description="The ten best, best first.", max_length=10)] = []
    failure_clusters: Annotated[
        list[FailureCluster], Field(description="Failures by cause, largest first.", max_length=32)
    ] = []
    gpu_hours: Annotated[GpuHours, Field(description="Where the GPU-hours went.")] = GpuHours()
    start_time: Annotated[datetime | None, Field(description="When the first trial was made.")] = None
    completion_time: Annotated[datetime | None, Field(description="When the last trial ended.")] = None


class Sweep(Model):
    """A search over parameters: becomes Experiments, and ranks them."""

    spec: Annotated[SweepSpec, Field(description="What to search.")]
    status: Annotated[SweepStatus | None, Field(description="What became of it.")] = None
