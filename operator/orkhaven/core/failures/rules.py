"""From evidence to a cause: an ordered chain of small pure functions, the first that answers wins.

The order is the table of causes in the API reference: what the cluster did to a run comes before what the run says
about itself, what a kubelet saw before what a log claims. Texts are matched by words that only that failure writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from orkhaven.api import Reason
from orkhaven.core.failures.action import Action
from orkhaven.core.failures.evidence import Evidence, Loss
from orkrun.contract import ExitCode, Outcome

_SIGKILL, _SIGBUS = 128 + 9, 128 + 7
_STOPPED = (ExitCode.INTERRUPTED, _SIGKILL, 128 + 2)
"""Exit codes of a container that was told to end: SIGTERM, SIGKILL after the grace period, SIGINT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why an attempt ended, for status.reason and for people."""

    reason: Reason
    message: str
    may_pass: bool = True
    """False: trying again cannot help, whatever the reason's row in the table says."""
    action: Action | None = None
    """What a user's rule wants done, instead of the reason's row."""


Rule = Callable[[Evidence], Cause | None]


def classify(evidence: Evidence) -> Cause:
    """The cause of an attempt that did not end well."""
    return next(cause for rule in CHAIN if (cause := rule(evidence)) is not None)


def classify_success(evidence: Evidence) -> Cause | None:
    """Why an attempt that ended with exit code 0 failed all the same; None: it did not."""
    if evidence.objective is None or evidence.has_objective:
        return None
    record = evidence.record
    if record is not None and evidence.objective in record.not_finite:
        return _cause(Reason.DIVERGED, f"{evidence.objective}, the objective, is not a finite number at the end")
    seen = ", ".join(sorted(record.metrics)[:8]) if record is not None and record.metrics else "nothing"
    return _cause(
        Reason.METRIC_MISSING,
        f"ended with exit code 0, but never reported its objective {evidence.objective}; reported: {seen}",
    )


# --- what the cluster did ---------------------------------------------------------------------------------------------


def disrupted(e: Evidence) -> Cause | None:
    """Preempted by the scheduler, evicted by API, by a taint, by the kubelet, or collected with its node."""
    if not e.disruption:
        return None
    said = e.disruption_message or e.job_message or e.disruption
    if e.disruption == "PreemptionByScheduler":
        return _cause(Reason.PREEMPTED, f"a pod of higher priority took its place: {said}")
    if e.disruption == "DeletionByPodGC" or (e.disruption == "DeletionByTaintManager" and not e.node_ready):
        return _cause(Reason.NODE_LOST, f"node {e.node or '?'} was lost: {said}")
    return _cause(Reason.DRAINED, f"evicted from node {e.node or '?'}: {said}")


def lost_node(e: Evidence) -> Cause | None:
    """The node is gone or does not answer, so nobody will ever say how the container ended."""
    if e.loss in (Loss.NODE_GONE, Loss.NODE_NOT_READY) or e.pod_reason == "NodeLost":
        return _cause(Reason.NODE_LOST, f"node {e.node or '?'}: {e.loss or e.pod_message or 'lost'}")
    return None


def shut_down(e: Evidence) -> Cause | None:
    """The node's own graceful shutdown, or a kubelet that took the place back or did not admit the pod at all."""
    if e.pod_reason in ("NodeShutdown", "Terminated", "Shutdown"):
        return _cause(Reason.NODE_LOST, f"node {e.node or '?'} was shut down: {e.pod_message or e.pod_reason}")
    if e.pod_reason.startswith("OutOf") or e.pod_reason in ("Preempting", "NodeAffinity"):
        return _cause(Reason.PREEMPTED, f"node {e.node or '?'} had no room after all: {e.pod_message or e.pod_reason}")
    return None


def over_its_disk(e: Evidence) -> Cause | None:
    """The kubelet evicts for the node's sake (Drained), but also a pod that wrote more than it may (its own fault)."""
    if e.pod_reason != "Evicted":
        return None
    if re.search(r"exceed(s|ed) (the total|its|the) .*limit|exceeds the limit", e.pod_message, re.IGNORECASE):
        return _cause(Reason.DISK_FULL, f"wrote more than it may: {e.pod_message}")
    return _cause(Reason.DRAINED, f"evicted from node {e.node or '?'}: {e.pod_message or 'pressure'}")


def taken_away(e: Evidence) -> Cause | None:
    """Somebody deleted the pod or its Job. The Job's own deadline does that too: Timeout below."""
    if e.deadline:
        return None
    if e.removed and e.exit_code in (None, *_STOPPED):
        return _cause(Reason.DRAINED, "its pod was deleted while it ran")
    if e.removed and (e.record is None or e.record.outcome != Outcome.FAILED):
        # A program without a handler may end with any code once it gets SIGTERM.
        return _cause(Reason.DRAINED, f"its pod was deleted while it ran, and it ended with exit code {e.exit_code}")
    if e.loss is Loss.JOB_GONE:
        return _cause(Reason.DRAINED, "its Job was deleted")
    if e.loss is Loss.POD_GONE and e.exit_code in _STOPPED:
        return _cause(Reason.DRAINED, f"its pod was told to stop and is gone (exit code {e.exit_code})")
    if e.loss is Loss.POD_GONE and e.exit_code is None:
        # Pods of ended Jobs stay; one that is gone without a trace most likely went with its node.
        what = f": {e.job_message}" if e.job_message else ""
        return _cause(Reason.NODE_LOST, f"its pod is gone, and with it how it ended{what}")
    return None


# --- what kept it from starting ---------------------------------------------------------------------------------------

IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "RegistryUnavailable",
        "ImageInspectError",
    }
)
CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError"})
HOPELESS = frozenset({"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})
"""Waiting reasons that waiting does not cure."""


def image(e: Evidence) -> Cause | None:
    if e.waiting_reason not in IMAGE_REASONS:
        return None
    message = f"image {e.image} cannot be pulled: {e.waiting_message or e.waiting_reason}"
    return _cause(Reason.IMAGE_PULL, message, may_pass=e.waiting_reason not in HOPELESS)


def container_config(e: Evidence) -> Cause | None:
    if e.waiting_reason in CONFIG_REASONS:
        return _cause(Reason.CONFIG_ERROR, f"the container cannot be created: {e.waiting_message or e.waiting_reason}")
    if e.terminated_reason in ("StartError", "ContainerCannotRun"):
        return _cause(Reason.CONFIG_ERROR, f"the container cannot be started: {_last_line(e.text)}")
    return None


def deadline(e: Evidence) -> Cause | None:
    if e.deadline:
        return _cause(Reason.TIMEOUT, f"ran longer than maxRunTime ({e.max_run_time}) and was stopped")
    return None


# --- what it died of --------------------------------------------------------------------------------------------------


def memory_killed(e: Evidence) -> Cause | None:
    """The kernel's OOM killer. A child that it takes does not always show as OOMKilled: then 137, or a loader's
    word."""
    limit = f"its memory limit of {e.memory}" if e.memory else "the node's memory"
    if e.terminated_reason == "OOMKilled":
        return _cause(Reason.OUT_OF_MEMORY_KILLED, f"killed for taking more than {limit}")
    if e.exit_code == _SIGKILL and e.memory:
        return _cause(Reason.OUT_OF_MEMORY_KILLED, f"killed (exit code 137), most likely at {limit}")
    if re.search(r"DataLoader worker .*killed by signal: Killed", e.text):
        return _cause(Reason.OUT_OF_MEMORY_KILLED, f"a data loader worker was killed, most likely at {limit}")
    return None


def cuda_memory(e: Evidence) -> Cause | None:
    return _said(
        e,
        Reason.CUDA_OUT_OF_MEMORY,
        r"CUDA out of memory|torch(\.cuda)?\.OutOfMemoryError|CUDA error: out of memory"
        r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation",
    )


def gpu_hardware(e: Evidence) -> Cause | None:
    if e.pod_reason == "UnexpectedAdmissionError":
        return _cause(Reason.GPU_HARDWARE, f"node {e.node or '?'} could not hand out its device: {e.pod_message}")
    return _said(
        e,
        Reason.GPU_HARDWARE,
        r"\bXid\b|uncorrectable (NVLink|ECC) error|\bECC error|fallen off the bus|GPU is lost"
        r"|cudaErrorECCUncorrectable|no CUDA-capable device|CUDA driver initialization failed"
        r"|cudaErrorHardwareStackError",
    )


def infrastructure(e: Evidence) -> Cause | None:
    if e.exit_code == ExitCode.TRY_AGAIN:
        return _cause(Reason.INFRASTRUCTURE, _sentence(e))
    return _said(
        e,
        Reason.INFRASTRUCTURE,
        r"NCCL[^\n]*(timeout|timed out)|ncclSystemError|ncclRemoteError|ncclInternalError"
        r"|Watchdog caught collective operation timeout|Connection reset by peer|ConnectionResetError"
        r"|Connection refused|Connection timed out|ConnectTimeout|ReadTimeout|Temporary failure in name resolution"
        r"|Stale (NFS )?file handle|Remote I/O error|Transport endpoint is not connected|\[Errno 5\] Input/output error"
        r"|\b50[0234]\b[^\n]{0,40}(Server Error|Bad Gateway|Unavailable|Gateway Time-?out)|\bSlowDown\b",
    )


def shared_memory(e: Evidence) -> Cause | None:
    """Before a full disk: torch says "No space left on device" of its own segments in /dev/shm too."""
    if e.exit_code == _SIGBUS:
        return _cause(
            Reason.SHARED_MEMORY, f"bus error (exit code {_SIGBUS}), most likely /dev/shm is full: {_sentence(e)}"
        )
    return _said(
        e,
        Reason.SHARED_MEMORY,
        r"\bBus error\b|insufficient shared memory|out of shared memory|(shm|mmap)[^\n]*</torch_"
        r"|unable to write to file </torch_|unable to (open|allocate) shared memory",
    )


def disk_full(e: Evidence) -> Cause | None:
    return _said(e, Reason.DISK_FULL, r"No space left on device|\[Errno 28\]|Disk quota exceeded|\[Errno 122\]")


def data_error(e: Evidence) -> Cause | None:
    if e.exit_code == ExitCode.DATA_ERROR:
        return _cause(Reason.DATA_ERROR, _sentence(e))
    # A program that keeps no contract: a file error that names a place among the data.
    for path in e.data_paths:
        here = re.escape(path.rstrip("/"))
        pattern = (
            rf"(FileNotFound|Permission|NotADirectory|IsADirectory|UnidentifiedImage)Error\b[^\n]*['\" ]{here}(/|\b)"
        )
        if cause := _said(e, Reason.DATA_ERROR, pattern):
            return cause
    return None


def import_error(e: Evidence) -> Cause | None:
    return _said(e, Reason.IMPORT_ERROR, r"^(ModuleNotFoundError|ImportError)\b.*")


def invalid_params(e: Evidence) -> Cause | None:
    """Exit code 64 of the contract, or argparse's own way to say it."""
    if e.exit_code == ExitCode.INVALID_PARAMS:
        return _cause(Reason.INVALID_PARAMS, _sentence(e))
    if e.exit_code == 2:
        return _said(e, Reason.INVALID_PARAMS, r"^\S+: error: .*|^Error: (No such option|Invalid value).*")
    return None


def contract_config(e: Evidence) -> Cause | None:
    """Exit codes of the contract that are about the run's surroundings: its config, its output folder."""
    if e.exit_code == ExitCode.CONFIG_ERROR:
        return _cause(Reason.CONFIG_ERROR, _sentence(e))
    if e.exit_code == ExitCode.CANNOT_CREATE:
        return _cause(Reason.CONFIG_ERROR, f"the output folder cannot be written: {_sentence(e)}")
    return None


def diverged(e: Evidence) -> Cause | None:
    if e.record is not None and e.record.failure_type.rpartition(".")[2] == "Diverged":
        return _cause(Reason.DIVERGED, e.record.failure_message or "a value is not finite any more")
    return _said(
        e,
        Reason.DIVERGED,
        r"\b(loss|gradient|grad_norm|metric|objective)\b[^\n]{0,60}\b(is|are|became|was) (nan|inf)\b.*",
    )


def stopped_from_outside(e: Evidence) -> Cause | None:
    """SIGTERM or SIGKILL of which the cluster knows nothing; it counts, or a program that always ends so would never
    end."""
    if e.exit_code in (ExitCode.INTERRUPTED, _SIGKILL) and (e.record is None or e.record.outcome != Outcome.FAILED):
        return _cause(
            Reason.INFRASTRUCTURE, f"stopped by a signal (exit code {e.exit_code}) that the cluster knows nothing of"
        )
    return None


def user_exception(e: Evidence) -> Cause:
    return _cause(Reason.USER_EXCEPTION, _sentence(e))


CHAIN: tuple[Rule, ...] = (
    disrupted,  # preemption, drain, taint, node pressure, pod garbage collection
    lost_node,  # the node cannot be asked any more
    shut_down,  # graceful node shutdown; the kubelet had no room
    over_its_disk,  # evicted: for the node's sake, or for its own writing
    taken_away,  # pod or Job deleted by hand
    image,  # the image cannot be had
    container_config,  # Secret, key or command missing
    deadline,  # maxRunTime
    memory_killed,  # the kernel's OOM killer
    cuda_memory,  # the GPU's memory
    gpu_hardware,  # Xid, ECC, off the bus
    infrastructure,  # NCCL, connections, storage; exit code 75
    shared_memory,  # /dev/shm
    disk_full,  # no space left
    data_error,  # exit code 65, missing or unreadable data
    import_error,  # a module the image lacks
    invalid_params,  # exit code 64
    contract_config,  # exit codes 73, 78
    diverged,  # NaN, Inf
    stopped_from_outside,  # a signal out of nowhere
    user_exception,  # everything else
)


# --- words ------------------------------------------------------------------------------------------------------------


def _cause(reason: Reason, message: str, *, may_pass: bool = True) -> Cause:
    return Cause(reason=reason, message=message, may_pass=may_pass)


def _said(e: Evidence, reason: Reason, pattern: str) -> Cause | None:
    """A cause where the text has the pattern; its sentence is the record's, else the line that has it."""
    found = re.search(pattern, e.text, re.MULTILINE | re.IGNORECASE)
    if found is None:
        return None
    start = e.text.rfind("\n", 0, found.start()) + 1
    end = e.text.find("\n", found.end())
    line = e.text[start : len(e.text) if end < 0 else end].strip()
    recorded = e.record is not None and e.record.failure_message
    return _cause(reason, _sentence(e) if recorded and re.search(pattern, _sentence(e), re.IGNORECASE) else line)


def _sentence(e: Evidence) -> str:
    """What it said of itself, in one line."""
    record = e.record
    if record is not None and (record.failure_message or record.failure_type):
        own = record.failure_type.startswith("orkrun.")
        return (
            record.failure_message if own else ": ".join(p for p in (record.failure_type, record.failure_message) if p)
        )
    if last := _last_line(e.text):
        return last if e.exit_code is None else f"{last} (exit code {e.exit_code})"
    if e.exit_code is not None:
        return f"ended with exit code {e.exit_code} and said nothing"
    return e.pod_message or e.job_message or e.pod_reason or "ended without a word"


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
