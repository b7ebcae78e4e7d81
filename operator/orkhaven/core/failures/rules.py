"""From evidence to a cause: an ordered chain of small pure functions, the first that answers wins.

The order is the table of causes in the API reference: what the cluster did to a run comes before what the run says
about itself, what a kubelet saw before what a log claims. What a run says is read in `words`; between the two stand the
rules of the cluster's users (`user_rules`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from orkhaven.api import Reason
from orkhaven.core.failures.cause import Diagnosis
from orkhaven.core.failures.evidence import Evidence, Loss
from orkhaven.core.failures.families import by_family
from orkhaven.core.failures.fingerprint import last_words
from orkhaven.core.failures.machine import MACHINE, gpu_hardware, gpu_setup, shared_memory
from orkhaven.core.failures.program import PROGRAM, crashed
from orkhaven.core.failures.words import LONGEST_TEXT, SIGBUS, SIGKILL, by_words, sentence
from orkrun.contract import ExitCode, Outcome

_STOPPED = (ExitCode.INTERRUPTED, SIGKILL, 128 + 2)
"""Exit codes of a container that was told to end: SIGTERM, SIGKILL after the grace period, SIGINT."""

Rule = Callable[[Evidence], Diagnosis | None]


def classify(evidence: Evidence) -> Diagnosis:
    """The cause of an attempt that did not end well."""
    for rule in FACTS:
        if (found := rule(evidence)) is not None:
            return found
    return by_user_rules(evidence) or from_its_words(evidence)


def classify_success(evidence: Evidence) -> Diagnosis | None:
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


def disrupted(e: Evidence) -> Diagnosis | None:
    """Preempted by the scheduler, evicted by API, by a taint, by the kubelet, or collected with its node."""
    if not e.disruption:
        return None
    said = e.disruption_message or e.job_message or e.disruption
    if e.disruption == "PreemptionByScheduler":
        return _cause(Reason.PREEMPTED, f"a pod of higher priority took its place: {said}")
    if e.disruption == "DeletionByPodGC" or (e.disruption == "DeletionByTaintManager" and not e.node_ready):
        return _cause(Reason.NODE_LOST, f"node {e.node or '?'} was lost: {said}")
    return _cause(Reason.DRAINED, f"evicted from node {e.node or '?'}: {said}")


def lost_node(e: Evidence) -> Diagnosis | None:
    """The node is gone or does not answer, so nobody will ever say how the container ended."""
    if e.loss in (Loss.NODE_GONE, Loss.NODE_NOT_READY) or e.pod_reason == "NodeLost":
        return _cause(Reason.NODE_LOST, f"node {e.node or '?'}: {e.loss or e.pod_message or 'lost'}")
    return None


def shut_down(e: Evidence) -> Diagnosis | None:
    """The node's own graceful shutdown, or a kubelet that took the place back or did not admit the pod at all."""
    if e.pod_reason in ("NodeShutdown", "Terminated", "Shutdown"):
        return _cause(Reason.NODE_LOST, f"node {e.node or '?'} was shut down: {e.pod_message or e.pod_reason}")
    if e.pod_reason.startswith("OutOf") or e.pod_reason in ("Preempting", "NodeAffinity"):
        return _cause(Reason.PREEMPTED, f"node {e.node or '?'} had no room after all: {e.pod_message or e.pod_reason}")
    return None


def over_its_disk(e: Evidence) -> Diagnosis | None:
    """The kubelet evicts for the node's sake (Drained), but also a pod that wrote more than it may (its own fault)."""
    if e.pod_reason != "Evicted":
        return None
    if re.search(r"exceed(s|ed) (the total|its|the) .*limit|exceeds the limit", e.pod_message, re.IGNORECASE):
        return _cause(Reason.DISK_FULL, f"wrote more than it may: {e.pod_message}")
    return _cause(Reason.DRAINED, f"evicted from node {e.node or '?'}: {e.pod_message or 'pressure'}")


def gave_way(e: Evidence) -> Diagnosis | None:
    """Our queue told it to stop, for another run. What ended by itself before, or says of itself that it failed, has a
    cause of its own."""
    if not e.preempted_for or e.deadline:
        return None
    told = e.record.outcome if e.record is not None else None
    if e.exit_code is None or e.exit_code == ExitCode.INTERRUPTED or told == Outcome.INTERRUPTED:
        return _cause(Reason.PREEMPTED, e.preempted_for)
    # It was told to stop, and did not listen in time, or knows nothing of SIGTERM.
    if e.removed and (e.exit_code in _STOPPED or told != Outcome.FAILED):
        return _cause(Reason.PREEMPTED, e.preempted_for)
    return None


def taken_away(e: Evidence) -> Diagnosis | None:
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


def image(e: Evidence) -> Diagnosis | None:
    if e.waiting_reason not in IMAGE_REASONS:
        return None
    message = f"image {e.image} cannot be pulled: {e.waiting_message or e.waiting_reason}"
    return _cause(Reason.IMAGE_PULL, message, may_pass=e.waiting_reason not in HOPELESS)


def container_config(e: Evidence) -> Diagnosis | None:
    if e.waiting_reason in CONFIG_REASONS:
        return _cause(Reason.CONFIG_ERROR, f"the container cannot be created: {e.waiting_message or e.waiting_reason}")
    if e.terminated_reason in ("StartError", "ContainerCannotRun"):
        if (found := gpu_hardware(e, e.text) or gpu_setup(e, e.text)) is not None:
            return found  # the GPU's own part of making a container
        return _cause(Reason.CONFIG_ERROR, f"the container cannot be started: {last_words(e.text)}")
    return None


def deadline(e: Evidence) -> Diagnosis | None:
    if e.deadline:
        return _cause(Reason.TIMEOUT, f"ran longer than maxRunTime ({e.max_run_time}) and was stopped")
    return None


def oom_killed(e: Evidence) -> Diagnosis | None:
    """The kernel's OOM killer, as the kubelet saw it, or as exit code 137 of a container with a limit tells. A child
    that it takes shows in words only."""
    limit = f"its memory limit of {e.memory}" if e.memory else "the node's memory"
    if e.terminated_reason == "OOMKilled":
        return _cause(Reason.OUT_OF_MEMORY_KILLED, f"killed for taking more than {limit}")
    if e.exit_code == SIGKILL and e.memory:
        return _cause(Reason.OUT_OF_MEMORY_KILLED, f"killed (exit code 137), most likely at {limit}")
    return None


def lost_container(e: Evidence) -> Diagnosis | None:
    """The container runtime died with its shims, or came back without the container, so that nobody knows how it ended:
    containerd then says Unknown with exit code 255, the kubelet ContainerStatusUnknown. What the run itself has written
    of its end is known better."""
    if e.terminated_reason not in ("Unknown", "ContainerStatusUnknown"):
        return None
    if e.record is not None and e.record.outcome == Outcome.FAILED:
        return None
    return _cause(Reason.NODE_LOST, f"node {e.node or '?'}: its container runtime lost the container")


def refused_device(e: Evidence) -> Diagnosis | None:
    """The device plugin could not hand out what the scheduler had counted."""
    if e.pod_reason == "UnexpectedAdmissionError":
        return _cause(Reason.GPU_HARDWARE, f"node {e.node or '?'} could not hand out its device: {e.pod_message}")
    return None


FACTS: tuple[Rule, ...] = (
    disrupted,  # preemption, drain, taint, node pressure, pod garbage collection
    lost_node,  # the node cannot be asked any more
    shut_down,  # graceful node shutdown; the kubelet had no room
    over_its_disk,  # evicted: for the node's sake, or for its own writing
    gave_way,  # our queue took its GPUs back
    taken_away,  # pod or Job deleted by hand
    image,  # the image cannot be had
    container_config,  # Secret, key or command missing
    deadline,  # maxRunTime
    lost_container,  # containerd and its shims were killed
    oom_killed,  # the kernel's OOM killer
    refused_device,
)
"""What the cluster says. No rule of a user's comes before it."""


# --- the users' own rules ---------------------------------------------------------------------------------------------

RULED_TEXT = 16 * 1024
"""Characters from the end that a rule of the user's looks at."""


def by_user_rules(e: Evidence) -> Diagnosis | None:
    """The first that a line fits; that line is the message."""
    if not e.rules:
        return None
    lines = e.text[-RULED_TEXT:].splitlines() or [e.pod_message or e.job_message]
    for rule in e.rules:
        line = next((line for line in reversed(lines) if rule.pattern.search(line)), None)
        if line is not None:
            message = f"{line.strip()[:600]} (rule {rule.name})"
            return Diagnosis(
                reason=rule.reason, message=message, action=rule.action, suggestion=rule.suggestion, rule=rule.name
            )
    return None


# --- what it died of --------------------------------------------------------------------------------------------------


def from_its_words(e: Evidence) -> Diagnosis:
    """What the program says: by an exit code of the contract, which it chose itself, else by its last words."""
    if e.exit_code in _CONTRACT:
        return by_words(e, MACHINE) or _by_contract(e)
    return (
        by_words(e, (*MACHINE, *PROGRAM))
        or by_loud_words(e)
        or by_exit_code(e)
        or by_family(e)
        or Diagnosis(reason=Reason.USER_EXCEPTION, message=sentence(e))
    )


def by_loud_words(e: Evidence) -> Diagnosis | None:
    """Words that mean the same wherever they stand, even beside an exception that has none."""
    return next(
        (found for rule in (gpu_hardware, shared_memory, crashed) if (found := rule(e, e.text[-LONGEST_TEXT:]))), None
    )


_CONTRACT = frozenset(
    {
        ExitCode.TRY_AGAIN,
        ExitCode.DATA_ERROR,
        ExitCode.INVALID_PARAMS,
        ExitCode.CONFIG_ERROR,
        ExitCode.CANNOT_CREATE,
    }
)


def _by_contract(e: Evidence) -> Diagnosis:
    if e.exit_code == ExitCode.TRY_AGAIN:
        return _cause(Reason.INFRASTRUCTURE, sentence(e))
    if e.exit_code == ExitCode.DATA_ERROR:
        return _cause(Reason.DATA_ERROR, sentence(e))
    if e.exit_code == ExitCode.INVALID_PARAMS:
        return _cause(Reason.INVALID_PARAMS, sentence(e))
    if e.exit_code == ExitCode.CANNOT_CREATE:
        return _cause(Reason.CONFIG_ERROR, f"the output folder cannot be written: {sentence(e)}")
    return _cause(Reason.CONFIG_ERROR, sentence(e))


def by_exit_code(e: Evidence) -> Diagnosis | None:
    """A program that says nothing of use, but whose exit code does."""
    if e.exit_code == SIGBUS:
        message = f"bus error (exit code {SIGBUS}), most likely /dev/shm is full: {sentence(e)}"
        return _cause(Reason.SHARED_MEMORY, message)
    if e.exit_code in (126, 127) and not e.record:
        what = "cannot be run" if e.exit_code == 126 else "is not there"
        return _cause(Reason.CONFIG_ERROR, f"its command {what} (exit code {e.exit_code}): {sentence(e)}")
    # SIGTERM or SIGKILL of which the cluster knows nothing; it counts, or a program that always ends so would never
    # end.
    if e.exit_code in (ExitCode.INTERRUPTED, SIGKILL) and (e.record is None or e.record.outcome != Outcome.FAILED):
        return _cause(
            Reason.INFRASTRUCTURE, f"stopped by a signal (exit code {e.exit_code}) that the cluster knows nothing of"
        )
    return None


def _cause(reason: Reason, message: str, *, may_pass: bool = True) -> Diagnosis:
    return Diagnosis(reason=reason, message=message, may_pass=may_pass)
