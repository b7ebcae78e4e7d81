"""Why a run is in its state: the closed list of reasons that status.reason can carry."""

from enum import StrEnum


class Reason(StrEnum):
    """A failed attempt's cause (first match wins, see docs/reference) or what a run that has not ended is doing."""

    # --- ended well or by will -------------------------------------------------------------------------------------
    COMPLETED = "Completed"
    CANCELLED = "Cancelled"
    REUSED = "Reused"
    DUPLICATE = "Duplicate"
    EARLY_STOPPED = "EarlyStopped"

    # --- not ended -------------------------------------------------------------------------------------------------
    WAITING_FOR_GPUS = "WaitingForGpus"
    NO_FITTING_NODE = "NoFittingNode"
    WAITING_FOR_RETRY = "WaitingForRetry"
    WAITING_FOR_TWIN = "WaitingForTwin"
    WAITING_FOR_KUEUE = "WaitingForKueue"
    WAITING_FOR_POD = "WaitingForPod"
    UNSCHEDULABLE = "Unschedulable"
    PULLING_IMAGE = "PullingImage"
    CONTAINER_CREATING = "ContainerCreating"
    TRAINING = "Training"
    SUSPENDING = "Suspending"
    SUSPENDED = "Suspended"
    STATUS_UNKNOWN = "StatusUnknown"

    # --- causes of a failed attempt ----------------------------------------------------------------------------------
    PREEMPTED = "Preempted"
    DRAINED = "Drained"
    NODE_LOST = "NodeLost"
    IMAGE_PULL = "ImagePull"
    CONFIG_ERROR = "ConfigError"
    TIMEOUT = "Timeout"
    OUT_OF_MEMORY_KILLED = "OutOfMemoryKilled"
    CUDA_OUT_OF_MEMORY = "CudaOutOfMemory"
    GPU_HARDWARE = "GpuHardware"
    GPU_SETUP = "GpuSetup"
    CUDA_ERROR = "CudaError"
    INFRASTRUCTURE = "Infrastructure"
    DISK_FULL = "DiskFull"
    SHARED_MEMORY = "SharedMemory"
    DATA_ERROR = "DataError"
    CHECKPOINT_ERROR = "CheckpointError"
    IMPORT_ERROR = "ImportError"
    INVALID_PARAMS = "InvalidParams"
    SHAPE_MISMATCH = "ShapeMismatch"
    DIVERGED = "Diverged"
    METRIC_MISSING = "MetricMissing"
    STALLED = "Stalled"
    HUNG_AT_START = "HungAtStart"
    VOLUME_TIMEOUT = "VolumeTimeout"
    CRASHED = "Crashed"
    USER_EXCEPTION = "UserException"

    # --- the specification itself ------------------------------------------------------------------------------------
    INVALID_SPEC = "InvalidSpec"


CLUSTER_REASONS = frozenset(
    {
        Reason.PREEMPTED,
        Reason.DRAINED,
        Reason.NODE_LOST,
        Reason.GPU_HARDWARE,
        Reason.INFRASTRUCTURE,
        Reason.VOLUME_TIMEOUT,
        Reason.HUNG_AT_START,
    }
)
"""Causes that are the cluster's: they do not count against a sweep's failurePolicy.maxFailedTrials."""
