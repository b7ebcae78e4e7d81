"""What a person would do about a cause: one sentence each, with what is known of the run filled in."""

from __future__ import annotations

from orkhaven.api import Reason

_SUGGESTIONS: dict[str, str] = {
    Reason.PREEMPTED: "Nothing to do: it is started again from its checkpoint as soon as there is room.",
    Reason.DRAINED: "Nothing to do: it is started again from its checkpoint.",
    Reason.NODE_LOST: "It is started again elsewhere; have a look at the node if it happens often.",
    Reason.IMAGE_PULL: "Check the image's name and tag, that the node can reach the registry, and its pull secret.",
    Reason.CONFIG_ERROR: "Create what the message names (Secret, key, command, folder), or correct the reference.",
    Reason.TIMEOUT: "Give it a longer maxRunTime, or less to do; what it saved is in its output folder.",
    Reason.OUT_OF_MEMORY_KILLED: "Raise resources.memory, or lower batch size, image size, number of data workers.",
    Reason.CUDA_OUT_OF_MEMORY: "Lower the batch or image size, use mixed precision, or ask for resources.minGpuMemory.",
    Reason.GPU_HARDWARE: "Have the node's GPU checked (dmesg, nvidia-smi -q); cordon the node until it is.",
    Reason.INFRASTRUCTURE: "Usually passes. If it stays: check storage, network and the service it names.",
    Reason.DISK_FULL: "Free or enlarge the volume that is full; keep fewer checkpoints, write less into /tmp.",
    Reason.SHARED_MEMORY: "Raise resources.sharedMemory, or use fewer data loader workers.",
    Reason.DATA_ERROR: "Check the file that the message names, and the data claim with its subPath and mountPath.",
    Reason.IMPORT_ERROR: "The image lacks this module: add it to the image, or correct the name.",
    Reason.INVALID_PARAMS: "Correct the parameter that the message names; in a Sweep, leave this value out.",
    Reason.DIVERGED: "Lower the learning rate, clip gradients, check loss and data for values that are not finite.",
    Reason.METRIC_MISSING: "Report the objective under exactly this name; see docs/own-trainer for the contract.",
    Reason.STALLED: "Look at where the log ends (a lock, a data worker, NCCL); slow steps need a longer stallTimeout.",
    Reason.HUNG_AT_START: "Look at the node, its GPU, and what the program does first; else raise stallTimeout.",
    Reason.VOLUME_TIMEOUT: "kubectl describe pod says which volume does not come; check its claim, class and node.",
    Reason.USER_EXCEPTION: "Read the excerpt; the whole log tells more. If it passes by itself, raise retry.limit.",
    Reason.INVALID_SPEC: "Correct the field that the message names.",
}


def suggestion(reason: str) -> str:
    """The advice for a cause; empty for a word that is none."""
    return _SUGGESTIONS.get(reason, "")
