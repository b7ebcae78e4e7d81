"""The contract between the operator and a training container, written once.

Owns every name and number that both sides must agree on: environment variables, paths, exit codes, the shape of the
config file, of a metric line and of the termination record. Standard library only; operator and hub import it from
here.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, Literal, NotRequired, TypedDict

VERSION = 1
"""Version of the config and of the termination record. A reader refuses a newer major version."""

# --- environment of the container ---
ENV_CONFIG = "ORKHAVEN_CONFIG"
DEFAULT_CONFIG = "/etc/orkhaven/experiment.json"
ENV_OUTPUT = "ORKHAVEN_OUTPUT"
"""The run's own folder on the output volume. Everything needed to resume is in it."""
ENV_URL = "ORKHAVEN_URL"
"""Base URL of the hub, without a trailing slash. Unset or empty: metrics are only spooled."""
ENV_TOKEN_FILE = "ORKHAVEN_TOKEN_FILE"
DEFAULT_TOKEN_FILE = "/var/run/secrets/orkhaven/token"
ENV_TERMINATION_LOG = "ORKHAVEN_TERMINATION_LOG"
DEFAULT_TERMINATION_LOG = "/dev/termination-log"
TERMINATION_LIMIT = 4096
"""Bytes that Kubernetes keeps of a termination message."""
NOTE_LIMIT = 300
"""Characters of a record's note."""
TOKEN_AUDIENCE = "orkhaven"

# --- labels and annotations that tie pods to experiments ---
LABEL_EXPERIMENT = "orkhaven.io/experiment"
LABEL_SWEEP = "orkhaven.io/sweep"
LABEL_ATTEMPT = "orkhaven.io/attempt"
LABEL_TRIAL = "orkhaven.io/trial"
LABEL_PARAM_HASH = "orkhaven.io/param-hash"
LABEL_DEBUG = "orkhaven.io/debug"
"""Of a Job and its pod that are there for a shell: the Experiment. They are no attempt, and have none of its labels."""
LABEL_DEBUG_ASKED = "orkhaven.io/debug-asked"
"""Of that Job: what it was made for, so that another wish makes another one."""
LABEL_RERUN = "orkhaven.io/rerun"
"""Of a trial that was run once more: the id of the entry of spec.rerun."""
LABEL_RERUN_OF = "orkhaven.io/rerun-of"
"""The Experiment in whose place it is."""
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "orkhaven"
ANNOTATION_CONFIG = "orkhaven.io/config"
ANNOTATION_CREATED_BY = "orkhaven.io/created-by"
"""Of a Sweep or an Experiment: the user who made it, as the API server knows them; trials have their Sweep's."""


def metrics_path(namespace: str, experiment: str) -> str:
    """The hub's path that takes metric lines: POST application/x-ndjson, one `MetricLine` each line."""
    return f"/api/v1/namespaces/{namespace}/experiments/{experiment}/metrics"


def artifacts_path(namespace: str, experiment: str) -> str:
    """The hub's path that takes artifacts: POST of ARTIFACT_TYPE, an `ArtifactLine`, a newline, then the content or
    nothing.
    """
    return f"/api/v1/namespaces/{namespace}/experiments/{experiment}/artifacts"


ARTIFACT_TYPE = "application/x-orkhaven-artifact"
ARTIFACTS = "artifacts"
"""Folder below the run's: the manifest, and the files that were given as bytes."""
MANIFEST = "manifest.jsonl"
MAX_UPLOAD = 2 * 1024 * 1024
"""Bytes of an artifact whose content is sent to the hub; a larger one stays on the output volume."""
MAX_ARTIFACTS = 2000
"""Of one run, over all attempts."""
MAX_ARTIFACT_LINE = 16 * 1024
"""Bytes of one line of the manifest."""


class ArtifactKind(StrEnum):
    IMAGE = "image"
    VOLUME = "volume"
    FILE = "file"


class ArtifactRole(StrEnum):
    """What of a case it shows, so that a viewer can lay one over the other; empty: nothing of the kind."""

    NONE = ""
    IMAGE = "image"
    MASK = "mask"
    PREDICTION = "prediction"


class ExitCode(IntEnum):
    """What a training container says by its exit code (64..78 as in sysexits.h)."""

    OK = 0
    INVALID_PARAMS = 64
    DATA_ERROR = 65
    INTERNAL = 70
    CANNOT_CREATE = 73
    """The output folder cannot be written: no space, read-only, no permission."""
    TRY_AGAIN = 75
    CONFIG_ERROR = 78
    """The config file itself is missing or unreadable."""
    INTERRUPTED = 143
    """SIGTERM: a checkpoint was saved, start again with the same config to go on."""


class Outcome(StrEnum):
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    INTERRUPTED = "Interrupted"


class Objective(TypedDict):
    metric: str
    direction: Literal["Maximize", "Minimize"]
    goal: NotRequired[float]


class DataMount(TypedDict):
    name: str
    mountPath: str
    readOnly: bool


class Config(TypedDict):
    """The file at ORKHAVEN_CONFIG."""

    version: int
    namespace: str
    experiment: str
    uid: str
    sweep: NotRequired[str]
    paramHash: str
    runHash: str
    params: dict[str, Any]
    data: list[DataMount]
    objective: NotRequired[Objective]
    seed: int
    attempt: int
    output: str
    """The run's folder, the same as ORKHAVEN_OUTPUT. Same config + same folder = resume."""


class MetricLine(TypedDict):
    """One line of the metrics POST. Idempotent by (experiment, attempt, seq)."""

    attempt: int
    seq: int
    """Rises by one for every line of an attempt, from 1."""
    step: int
    time: float
    """Seconds since the epoch, UTC."""
    totalSteps: NotRequired[int]
    metrics: dict[str, float | str]
    """Numbers; what JSON cannot say is written as "NaN", "Infinity", "-Infinity"."""


class ArtifactLine(TypedDict):
    """One line of the manifest. Idempotent by (experiment, attempt, seq)."""

    attempt: int
    seq: int
    """Rises by one for every artifact of an attempt, from 1."""
    time: float
    """Seconds since the epoch, UTC."""
    name: str
    kind: str
    path: str
    """Relative to the run's folder, with slashes; never leads out of it."""
    sha256: str
    size: int
    mediaType: str
    step: NotRequired[int]
    caption: NotRequired[str]
    group: NotRequired[str]
    """What belongs together: a case, a slice of it ("case-07/12")."""
    role: NotRequired[str]


class MetricSummary(TypedDict):
    last: float | str
    best: NotRequired[float]
    bestStep: NotRequired[int]


class ObjectiveValue(TypedDict):
    value: float
    step: int


class Failure(TypedDict):
    type: str
    """Qualified name of the exception: torch.OutOfMemoryError, orkrun.InvalidParams."""
    message: str
    location: NotRequired[str]
    """file:line in function, of the innermost frame that is the user's own."""
    fingerprint: NotRequired[str]
    excerpt: NotRequired[str]
    """The last lines of the traceback."""


class Checkpoint(TypedDict):
    step: int
    path: str


class TerminationRecord(TypedDict):
    """The container's termination message: JSON, at most TERMINATION_LIMIT bytes."""

    version: int
    outcome: str
    objective: NotRequired[ObjectiveValue]
    metrics: NotRequired[dict[str, MetricSummary]]
    step: NotRequired[int]
    totalSteps: NotRequired[int]
    checkpoint: NotRequired[Checkpoint]
    note: NotRequired[str]
    """What a person should know of a run that went well: why it ended before its last step."""
    failure: NotRequired[Failure]


def encode_number(value: float) -> float | str:
    """A float as JSON can carry it: NaN and the infinities become their names."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def decode_number(value: float | int | str) -> float:
    """The opposite of `encode_number`. Raises ValueError for any other text, TypeError for a bool."""
    if isinstance(value, bool):
        raise TypeError("a metric is a number, not a boolean")
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        raise ValueError(f'a metric is a number, "NaN", "Infinity" or "-Infinity", not {value!r}')
    return float(value)


_SMALLER_IS_BETTER = ("loss", "error", "hd95", "hausdorff", "ece", "time", "seconds")


def is_minimized(metric: str, objective: Objective | None = None) -> bool:
    """Whether a smaller value of `metric` is the better one: the objective says so, else its name does."""
    if objective is not None and objective["metric"] == metric:
        return objective["direction"] == "Minimize"
    words = metric.lower().replace("/", "_").split("_")
    return any(word in words for word in _SMALLER_IS_BETTER)
