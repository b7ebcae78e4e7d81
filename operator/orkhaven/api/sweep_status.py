"""What a Sweep's status says: counters, leaders, causes of failure, reruns."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from orkhaven.api.experiment import Json
from orkhaven.api.meta import Condition, StatusModel
from orkhaven.api.rerun import MAX_RERUNS, RerunStatus
from orkhaven.api.retry import MAX_AVOIDED, AvoidedNode
from orkhaven.api.rules import ListMap


class SweepState(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class TrialCounts(StatusModel):
    """Trials by state."""

    total: Annotated[
        int, Field(description="Trials that the search will make; at most so many where constraints leave it open.")
    ] = 0
    created: Annotated[int, Field(description="Experiments made so far.")] = 0
    queued: Annotated[int, Field(description="Waiting for a GPU.")] = 0
    running: Annotated[int, Field(description="Starting or running.")] = 0
    suspended: Annotated[int, Field(description="Suspended.")] = 0
    succeeded: Annotated[int, Field(description="Ended with the objective.")] = 0
    failed: Annotated[int, Field(description="Ended without.")] = 0
    pruned: Annotated[int, Field(description="Stopped early.")] = 0
    reused: Annotated[int, Field(description="Succeeded by the result of an identical run: counted there too.")] = 0
    skipped: Annotated[int, Field(description="Not run, because an identical run is there.")] = 0
    replaced: Annotated[
        int, Field(description="Experiments that failed and were run once more: not counted anywhere else here.")
    ] = 0


class LeaderboardRow(StatusModel):
    """One combination and what it reached: one trial, or the mean of its repeats."""

    experiment: Annotated[
        str, Field(description="Name of the Experiment; with repeats that of the best of them.", max_length=63)
    ]
    value: Annotated[float, Field(description="Its best value of the objective; with repeats their mean.")]
    std: Annotated[
        float | None, Field(description="With repeats: standard deviation (n - 1) of their values, from two on.")
    ] = None
    n: Annotated[int | None, Field(description="With repeats: how many have succeeded.")] = None
    failed: Annotated[int | None, Field(description="With repeats: how many have ended without a value.")] = None
    step: Annotated[int | None, Field(description="Step that reached it; with repeats that of the best.")] = None
    params: Annotated[dict[str, Json], Field(description="The parameters that vary in this sweep.")] = {}


class Place(StatusModel):
    """Where, and how often."""

    name: Annotated[str, Field(description="Its name.", max_length=253)]
    count: Annotated[int, Field(description="Trials that failed there.")]


class Correlation(StatusModel):
    """What the failures of a cluster have in common, and the trials that succeeded have not."""

    what: Annotated[str, Field(description="A parameter's dotted name, or node, gpu, image.", max_length=128)]
    value: Annotated[str, Field(description="Its value with the comparison: =16, >=0.01.", max_length=64)]
    failed: Annotated[int, Field(description="Failures of the cluster that have it.")]
    failed_of: Annotated[int, Field(description="All failures of the cluster.")]
    succeeded: Annotated[int, Field(description="Trials that succeeded and have it.")]
    succeeded_of: Annotated[int, Field(description="All trials that succeeded.")]
    lift: Annotated[
        float | None, Field(description="How much more frequent it is among the failures; unset: no success has it.")
    ] = None
    text: Annotated[str, Field(description="The same in words.", max_length=256)] = ""


class FailureCluster(StatusModel):
    """The failures of one cause: the same reason, exception, message (without numbers and paths) and place."""

    id: Annotated[str, Field(description="What it is selected by; the same in every look.", max_length=16)] = ""
    reason: Annotated[str, Field(description="The cause.", max_length=64)]
    signature: Annotated[str, Field(description="What they all say.", max_length=256)] = ""
    count: Annotated[int, Field(description="Trials that died of it.")]
    first_seen: Annotated[datetime | None, Field(description="When the first of them ended.")] = None
    last_seen: Annotated[datetime | None, Field(description="When the last of them ended.")] = None
    message: Annotated[str, Field(description="What the latest of them said.", max_length=1024)] = ""
    samples: Annotated[
        list[Annotated[str, Field(max_length=63)]], Field(description="Up to 3 Experiments.", max_length=3)
    ] = []
    where: Annotated[str | None, Field(description="Where in the code.", max_length=128)] = None
    nodes: Annotated[list[Place], Field(description="The 3 nodes with most of them.", max_length=3)] = []
    images: Annotated[list[Place], Field(description="The 3 images with most of them.", max_length=3)] = []
    correlates: Annotated[
        list[Correlation], Field(description="What they have in common and the successful have not.", max_length=3)
    ] = []
    retryable: Annotated[bool, Field(description="Whether it may pass by itself.")] = False
    suggestion: Annotated[str, Field(description="What a person would do about it.", max_length=1024)] = ""


class OtherFailures(StatusModel):
    """Failures beyond the list."""

    clusters: Annotated[int, Field(description="Clusters that are not listed.")] = 0
    trials: Annotated[int, Field(description="Failed trials in them.")] = 0


class GpuHours(StatusModel):
    """GPUs times hours."""

    total: Annotated[float, Field(description="By all of them.")] = 0
    succeeded: Annotated[float, Field(description="By trials that ended well.")] = 0
    failed: Annotated[float, Field(description="By trials that failed.")] = 0
    pruned: Annotated[float, Field(description="By trials that were stopped early.")] = 0
    running: Annotated[float, Field(description="By finished attempts of trials that have not ended.")] = 0
    preempted: Annotated[
        float | None,
        Field(
            description="Of the total: by attempts that were preempted, drained or lost with their node; their runs "
            "went on from a checkpoint. Unset: none."
        ),
    ] = None
    saved: Annotated[
        float | None,
        Field(description="Beside the total: what the runs have cost whose results were taken over. Unset: none."),
    ] = None


class SweepStatus(StatusModel):
    """What became of it: counters, ten leaders, the causes of failure. Never a list of all trials."""

    observed_generation: Annotated[int | None, Field(description="Generation of the spec that was looked at.")] = None
    conditions: Annotated[
        list[Condition],
        Field(description="Accepted, Running, Suspended, GoalReached, Finished, Succeeded.", max_length=16),
        ListMap("type"),
    ] = []
    state: Annotated[SweepState | None, Field(description="One word, derived from the conditions.")] = None
    trials: Annotated[TrialCounts, Field(description="Trials by state.")] = TrialCounts()
    progress: Annotated[str, Field(description="Ended / total.", max_length=32)] = ""
    best: Annotated[LeaderboardRow | None, Field(description="Who leads.")] = None
    leaderboard: Annotated[list[LeaderboardRow], Field(description="The ten best, best first.", max_length=10)] = []
    failure_clusters: Annotated[
        list[FailureCluster], Field(description="Failures by cause, largest first.", max_length=32)
    ] = []
    reruns: Annotated[
        list[RerunStatus],
        Field(description="What became of the entries of spec.rerun, oldest first.", max_length=MAX_RERUNS),
    ] = []
    avoided_nodes: Annotated[
        list[AvoidedNode] | None,
        Field(description="Nodes that runs go past for a while, since several failed there.", max_length=MAX_AVOIDED),
    ] = None
    other_failures: Annotated[OtherFailures | None, Field(description="What failureClusters has no room for.")] = None
    gpu_hours: Annotated[GpuHours, Field(description="Where the GPU-hours went.")] = GpuHours()
    start_time: Annotated[datetime | None, Field(description="When the first trial was made.")] = None
    completion_time: Annotated[datetime | None, Field(description="When the last trial ended.")] = None
