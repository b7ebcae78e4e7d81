"""Experiment: one set of parameters, trained until it ends, in one or more attempts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from orkhaven.api.container import DataVolume, EnvVar, NodeSelector, Output, Resources, Toleration
from orkhaven.api.meta import Condition, Duration, Model, NameRule, Rules, StatusModel
from orkhaven.api.retry import MAX_AVOIDED, TEMPLATE_RULES, AvoidedNode, Overrides, Retry
from orkhaven.api.rules import Atomic, ListMap, Rule, immutable, matching
from orkhaven.api.stopping import MAX_RUNGS, MAX_STEPS, Prune, Rung

Json = Any
"""Any JSON value; kept as it is written (x-kubernetes-preserve-unknown-fields)."""

EXPERIMENT_NAME = NameRule(limit=57, why='its Jobs are named after it, with "-" and the attempt at the end')


class Direction(StrEnum):
    MAXIMIZE = "Maximize"
    MINIMIZE = "Minimize"


class Dedupe(StrEnum):
    """What becomes of a run that is identical to another of its namespace: the same parameters, seed, image, command
    and data (status.runHash)."""

    REUSE = "Reuse"
    SKIP = "Skip"
    NEVER = "Never"


class Priority(StrEnum):
    """When a run's turn comes, and what it gives way to: docs/queue."""

    INTERACTIVE = "Interactive"
    STANDARD = "Standard"
    PREEMPTIBLE = "Preemptible"


class Objective(Model):
    """What a run is judged by."""

    metric: Annotated[
        str,
        Field(
            description="Name of the metric that the training reports, e.g. val/dice_case.",
            min_length=1,
            max_length=128,
        ),
    ]
    direction: Annotated[Direction, Field(description="Whether the larger or the smaller value is the better one.")] = (
        Direction.MAXIMIZE
    )


class RunTemplate(Model):
    """What a Sweep's trials share, and what an Experiment is made of."""

    params: Annotated[
        dict[str, Json],
        Field(
            description="Parameters of the training, nested as its program wants them. With image, command, data and "
            "seed they are the run's identity. A null is kept by kubectl create and kubectl apply --server-side; plain "
            "kubectl apply leaves it out before it sends."
        ),
        Atomic(),
    ] = {}
    seed: Annotated[
        int,
        Field(
            description="Seed of the training: the same parameters under another seed are another run.",
            ge=0,
            le=2**31 - 1,
        ),
    ] = 0
    image: Annotated[
        str | None,
        Field(
            description="Container image. Default: the trainer of the operator's settings.",
            min_length=1,
            max_length=512,
        ),
        matching("[a-zA-Z0-9][a-zA-Z0-9._:/@-]*", "an image such as registry.example/trainer:1, without spaces"),
    ] = None
    command: Annotated[
        list[Annotated[str, Field(max_length=4096)]],
        Field(description="Command and arguments instead of the image's own.", max_length=64),
    ] = []
    resources: Annotated[Resources, Field(description="What the run needs of a node.")] = Resources()
    data: Annotated[list[DataVolume], Field(description="Volumes with training data.", max_length=8)] = []
    output: Annotated[
        Output | None, Field(description="Volume for checkpoints and results. Default: the operator's settings.")
    ] = None
    priority: Annotated[
        Priority,
        Field(
            description="Interactive: somebody waits for it; first of all, within the namespace's share. Standard: in "
            "its turn. Preemptible: after the user's other runs; it gives its GPUs back when another one needs them, "
            "and goes on later from its checkpoint."
        ),
    ] = Priority.STANDARD
    queue_name: Annotated[
        str | None,
        Field(
            description="Kueue decides when it runs: name of a LocalQueue of the namespace. Unset: the built-in queue.",
            min_length=1,
            max_length=63,
        ),
        matching("[a-z0-9]([a-z0-9.-]*[a-z0-9])?", "the name of a LocalQueue: lower case letters, digits, - and ."),
    ] = None
    max_run_time: Annotated[
        Duration | None, Field(description="Longest an attempt may run, e.g. 6h. After it: reason Timeout.")
    ] = None
    stall_timeout: Annotated[
        Duration | None,
        Field(
            description="Longest silence of a running attempt, neither a report nor a line of its log, e.g. 1h. After "
            "it: reason Stalled, or HungAtStart where it never said anything. Default: ten steps at the run's own "
            "pace, at least the operator's stallSeconds; a run that reports no steps is never taken for stalled."
        ),
    ] = None
    retry: Annotated[Retry, Field(description="How often a failed run is tried again, and with what changed.")] = (
        Retry()
    )
    env: Annotated[
        list[EnvVar], Field(description="Further environment variables.", max_length=64), ListMap("name")
    ] = []
    node_selector: Annotated[NodeSelector, Field(description="Labels that the node must have.")] = {}
    tolerations: Annotated[list[Toleration], Field(description="Taints that the run accepts.", max_length=16)] = []

    rules: ClassVar[Rules] = (
        # data is no list map: the equality of these ignores order, and the order is part of the run's identity.
        Rule(
            cel="!has(self.data) || self.data.all(d, self.data.exists_one(e, e.name == d.name))",
            message="two volumes of one name: the run finds its data by it",
            check=lambda t: len({d.name for d in t.data}) == len(t.data),
            path=".data",
        ),
        Rule(
            cel="!has(self.data) || self.data.all(d, self.data.exists_one(e, e.mountPath == d.mountPath))",
            message="two volumes at one mountPath: give each its own, such as /data/ct and /data/masks",
            check=lambda t: len({d.mount_path for d in t.data}) == len(t.data),
            path=".data",
        ),
        *TEMPLATE_RULES,
    )


class Debug(Model):
    """A pod with a shell, as the run has it: image, parameters, data, environment, the same node where that has
    room."""

    until: Annotated[datetime, Field(description="The pod is removed then, at the latest 24 hours after it was made.")]
    gpus: Annotated[bool, Field(description="With the run's GPUs; they do not wait for their turn in the queue.")] = (
        False
    )


class ExperimentSpec(RunTemplate):
    """One run: its parameters, its container, what it needs and what it is judged by."""

    objective: Annotated[
        Objective | None,
        Field(description="What the run is judged by. A run that ends without it failed: reason MetricMissing."),
    ] = None
    suspend: Annotated[
        bool, Field(description="Save a checkpoint, give the GPU back, keep the place; false goes on from there.")
    ] = False
    # No default in the schema: it depends on the image.
    dedupe: Annotated[
        Dedupe | None,
        Field(
            description="What to do about an identical run of this namespace (parameters, seed, image, command, data). "
            "Reuse: take its result over once it has succeeded, without a Job; else go on in its folder. Skip: do "
            "not run. Never: run, in a folder of its own. Default: Reuse, but Never where the image has the tag latest "
            "or none, which may be another program by now."
        ),
    ] = None
    debug: Annotated[
        Debug | None,
        Field(
            description="A pod to look around in, beside the run and never one of its attempts: kubectl ork debug sets "
            "it and enters the pod. Its output volume can only be read."
        ),
    ] = None
    resume_from: Annotated[
        str | None,
        Field(
            description="Go on in the output folder of this Experiment, from its last checkpoint: it has to be the "
            "same run (parameters, seed, image, command, data). Where it is gone, the run begins as any other.",
            min_length=1,
            max_length=EXPERIMENT_NAME.limit,
        ),
    ] = None
    ttl_seconds_after_finished: Annotated[
        int | None,
        Field(
            description="Seconds after the end until the Experiment is deleted; results stay. Unset: never. A Sweep's "
            "trials go with their Sweep, whatever stands here.",
            ge=0,
        ),
    ] = None
    rungs: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_STEPS)]],
        Field(
            description="Steps at which status.objective.rungs notes the best value so far. A Sweep with earlyStopping "
            "fills them in.",
            max_length=MAX_RUNGS,
        ),
    ] = []
    prune: Annotated[
        Prune | None,
        Field(
            description="Save a checkpoint, give the GPU back and end as Pruned. Set by the Sweep's earlyStopping; "
            "prune.resume: true goes on."
        ),
    ] = None

    rules: ClassVar[Rules] = (
        *(
            immutable(field, "it is part of what the run is; make a new Experiment")
            for field in ("params", "seed", "image", "command", "data", "objective", "output")
        ),
        immutable("dedupe", "it was decided by; make a new Experiment"),
        immutable("resumeFrom", "its folder was chosen by it; make a new Experiment"),
        immutable("rungs", "values were noted at them; make a new Experiment"),
    )


class State(StrEnum):
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    PRUNED = "Pruned"


TERMINAL_STATES = frozenset({State.SUCCEEDED, State.FAILED, State.SKIPPED, State.PRUNED})


class Silent(StatusModel):
    """That nothing was heard of a run: no report, no line of its log."""

    since: Annotated[datetime, Field(description="When something was heard last, by the hub's clock.")]
    until: Annotated[datetime, Field(description="When it was told of last.")]


class Progress(StatusModel):
    """How far a run is."""

    step: Annotated[int, Field(description="Steps (epochs) done.")]
    total_steps: Annotated[int | None, Field(description="Steps in all.")] = None
    eta: Annotated[datetime | None, Field(description="When the run will be done at its present pace.")] = None
    seconds_per_step: Annotated[float | None, Field(description="Mean pace of the present attempt.")] = None
    silent: Annotated[
        Silent | None, Field(description="No report and no line of its log came between these times.")
    ] = None


class ObjectiveStatus(StatusModel):
    """The best value of the objective so far."""

    value: Annotated[float, Field(description="Best value of the objective so far.")]
    step: Annotated[int, Field(description="Step that reached it.")]
    rungs: Annotated[
        list[Rung], Field(description="Values at the rungs that it has passed.", max_length=MAX_RUNGS)
    ] = []


class MetricStatus(StatusModel):
    """Summary of one metric. What JSON cannot say is left out: a NaN last value is absent here, and in the hub."""

    last: Annotated[float | None, Field(description="Latest finite value.")] = None
    best: Annotated[float | None, Field(description="Best finite value.")] = None
    best_step: Annotated[int | None, Field(description="Step of the best value.")] = None


class Attempt(StatusModel):
    """One Job of a run."""

    number: Annotated[int, Field(description="Counts from 1.", ge=1)]
    job: Annotated[str, Field(description="Name of its Job.", max_length=63)]
    pod: Annotated[str | None, Field(description="Name of its pod.", max_length=253)] = None
    node: Annotated[str | None, Field(description="Node it ran on.", max_length=253)] = None
    gpu_model: Annotated[str | None, Field(description="GPU model of that node.", max_length=253)] = None
    start_time: Annotated[datetime | None, Field(description="When its container started.")] = None
    end_time: Annotated[datetime | None, Field(description="When it ended.")] = None
    exit_code: Annotated[int | None, Field(description="Exit code of its container.")] = None
    reason: Annotated[str | None, Field(description="How it ended: Completed, or the cause.", max_length=64)] = None
    message: Annotated[str | None, Field(description="The cause in a sentence.", max_length=1024)] = None
    rule: Annotated[str | None, Field(description="Name of the user's rule that said so.", max_length=63)] = None
    memory: Annotated[
        str | None, Field(description="Its memory, where that was not resources.memory.", max_length=32)
    ] = None
    avoid: Annotated[
        list[Annotated[str, Field(max_length=253)]] | None,
        Field(description="Nodes that its Job may not go to (annotation orkhaven.io/avoid).", max_length=MAX_AVOIDED),
    ] = None
    gpu_seconds: Annotated[float | None, Field(description="GPUs times seconds that its pod held them.")] = None


class FailureStatus(StatusModel):
    """What a run died of."""

    reason: Annotated[str, Field(description="The cause.", max_length=64)]
    message: Annotated[str, Field(description="What went wrong, in a sentence.", max_length=1024)]
    excerpt: Annotated[str | None, Field(description="The last lines it said.", max_length=4096)] = None
    location: Annotated[str | None, Field(description="Where in the code.", max_length=512)] = None
    suggestion: Annotated[str, Field(description="What a person would do about it.", max_length=1024)] = ""
    cluster: Annotated[
        str, Field(description="Id of its cluster: the same for all failures of this cause.", max_length=16)
    ] = ""
    signature: Annotated[str, Field(description="What all failures of the cluster say.", max_length=256)] = ""


class CheckpointStatus(StatusModel):
    """The latest checkpoint."""

    step: Annotated[int, Field(description="Step it was saved after.")]
    path: Annotated[str, Field(description="Path on the output volume.", max_length=1024)]


class ExperimentStatus(StatusModel):
    """What became of it. `progress`, `objective` and `metrics` are the hub's, everything else the operator's."""

    observed_generation: Annotated[int | None, Field(description="Generation of the spec that was looked at.")] = None
    conditions: Annotated[
        list[Condition],
        Field(description="Accepted, Running, Suspended, Finished, Succeeded.", max_length=16),
        ListMap("type"),
    ] = []
    state: Annotated[State | None, Field(description="One word, derived from the conditions.")] = None
    reason: Annotated[str | None, Field(description="Why it is in that state.", max_length=64)] = None
    message: Annotated[str | None, Field(description="The same in a sentence.", max_length=2048)] = None
    param_hash: Annotated[str | None, Field(description="SHA-256 of the parameters alone.", max_length=64)] = None
    run_hash: Annotated[
        str | None, Field(description="SHA-256 of parameters, seed, image, command and data.", max_length=64)
    ] = None
    reused_from: Annotated[
        str | None,
        Field(description="The Experiment whose result this one took over, instead of a Job.", max_length=253),
    ] = None
    output_folder: Annotated[
        str | None,
        Field(description="Its folder on the output volume, where that is not named by the run hash.", max_length=64),
    ] = None
    progress: Annotated[Progress | None, Field(description="How far it is.")] = None
    objective: Annotated[ObjectiveStatus | None, Field(description="Best value so far.")] = None
    metrics: Annotated[
        dict[str, MetricStatus] | None,
        Field(description="Summary of at most 32 metrics.", max_length=32),
        Atomic(),
    ] = None
    # No list map: one writer, and the API server would note the owner of each field of each.
    attempts: Annotated[list[Attempt], Field(description="The last 10.", max_length=10)] = []
    attempt_count: Annotated[int, Field(description="Attempts in all.")] = 0
    retries_used: Annotated[int, Field(description="Attempts that counted against retry.limit.")] = 0
    retry_at: Annotated[datetime | None, Field(description="When the next attempt is due.")] = None
    overrides: Annotated[
        Overrides | None, Field(description="What retry.outOfMemory has changed of the spec for the next attempt.")
    ] = None
    avoid: Annotated[
        list[AvoidedNode] | None,
        Field(description="Nodes that its next attempts go past, where another one fits.", max_length=MAX_AVOIDED),
    ] = None
    failure: Annotated[FailureStatus | None, Field(description="What it died of.")] = None
    checkpoint: Annotated[CheckpointStatus | None, Field(description="Where the next attempt goes on.")] = None
    gpu_seconds: Annotated[float, Field(description="GPUs times seconds held, over all attempts.")] = 0
    saved_gpu_seconds: Annotated[
        float | None, Field(description="What the run has cost whose result this one took over.")
    ] = None
    start_time: Annotated[datetime | None, Field(description="When the first attempt started.")] = None
    completion_time: Annotated[datetime | None, Field(description="When it ended for good.")] = None


class Experiment(Model):
    """One set of parameters, trained until it ends. Usually made by a Sweep, but it stands on its own."""

    rules: ClassVar[Rules] = (EXPERIMENT_NAME,)

    spec: Annotated[
        ExperimentSpec,
        Field(
            description="What to run. What the run is (params, seed, image, command, data, objective, output) never "
            "changes; how it is run (resources, env, nodeSelector, tolerations, maxRunTime, retry, queueName) may be "
            "edited and holds from the next attempt on; suspend and prune hold at once."
        ),
    ]
    status: Annotated[ExperimentStatus | None, Field(description="What became of it.")] = None
