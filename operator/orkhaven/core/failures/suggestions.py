"""What a person would do about a cause: one sentence each, with what is known of the run filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from orkhaven.api import Reason
from orkhaven.core.failures.correlate import Found
from orkhaven.core.failures.evidence import Evidence
from orkhaven.core.failures.kernels import asserted
from orkhaven.core.failures.traces import fatal

_SUGGESTIONS: dict[str, str] = {
    Reason.PREEMPTED: "Nothing to do: it is started again from its checkpoint as soon as there is room.",
    Reason.DRAINED: "Nothing to do: it is started again from its checkpoint.",
    Reason.NODE_LOST: "It is started again elsewhere; have a look at the node if it happens often.",
    Reason.IMAGE_PULL: "Check the image's name and tag, that the node can reach the registry, and its pull secret.",
    Reason.CONFIG_ERROR: "Create what the message names (Secret, key, command, file, folder), or correct the "
    "reference.",
    Reason.TIMEOUT: "Give it a longer maxRunTime, or less to do; what it saved is in its output folder.",
    Reason.OUT_OF_MEMORY_KILLED: "Raise resources.memory, or lower batch size, image size, number of data workers.",
    Reason.CUDA_OUT_OF_MEMORY: "Lower the batch or image size, use mixed precision, or ask for resources.minGpuMemory.",
    Reason.GPU_HARDWARE: "Have the node's GPU checked (dmesg, nvidia-smi -q); cordon the node until it is.",
    Reason.GPU_SETUP: "Take an image whose CUDA fits the nodes' driver and GPUs, or ask for other GPUs with "
    "resources.gpuModels; a run that uses a GPU needs resources.gpus.",
    Reason.CUDA_ERROR: "Run it once with CUDA_LAUNCH_BLOCKING=1 for the line that fails; look for labels or "
    "indices out of "
    "range.",
    Reason.INFRASTRUCTURE: "Usually passes. If it stays: check storage, network and the service it names.",
    Reason.DISK_FULL: "Free or enlarge the volume that is full; keep fewer checkpoints, write less into /tmp.",
    Reason.SHARED_MEMORY: "Raise resources.sharedMemory, or use fewer data loader workers.",
    Reason.DATA_ERROR: "Check the file that the message names, and the data claim with its subPath and mountPath.",
    Reason.CHECKPOINT_ERROR: "The checkpoint is missing, cut off, or of another model: start from scratch, "
    "or correct the path or "
    "the architecture.",
    Reason.IMPORT_ERROR: "The image lacks this module, or has it in a version that does not fit: add it to "
    "the image, or "
    "correct the name.",
    Reason.INVALID_PARAMS: "Correct the parameter that the message names; in a Sweep, leave this value out.",
    Reason.SHAPE_MISMATCH: "Look at the shapes in the message: batch, channels, image size or classes do not "
    "fit the model; it "
    "fails the same way each time.",
    Reason.DIVERGED: "Lower the learning rate, clip gradients, check loss and data for values that are not finite.",
    Reason.METRIC_MISSING: "Report the objective under exactly this name; see docs/own-trainer for the contract.",
    Reason.STALLED: "Look at where the log ends (a lock, a data worker, NCCL); slow steps need a longer stallTimeout.",
    Reason.HUNG_AT_START: "Look at the node, its GPU, and what the program does first; else raise stallTimeout.",
    Reason.VOLUME_TIMEOUT: "kubectl describe pod says which volume does not come; check its claim, class and node.",
    Reason.CRASHED: "Native code crashed: look at the library above it in the excerpt, run with "
    "PYTHONFAULTHANDLER=1, and try "
    "other versions or num_workers=0.",
    Reason.USER_EXCEPTION: "Read the excerpt; the whole log tells more. If it passes by itself, raise retry.limit.",
    Reason.INVALID_SPEC: "Correct the field that the message names.",
}  # fmt: skip


def suggestion(reason: str, message: str = "", evidence: Evidence | None = None) -> str:
    """The advice for a cause, with the facts of the run where they are known; empty for a word that is none."""
    special = _SPECIAL.get(reason)
    if special is not None and (told := special(_all_words(message, evidence), evidence)):
        return told
    return _SUGGESTIONS.get(reason, "")


def for_cluster(reason: str, advice: str, found: Sequence[Found], *, count: int) -> str:
    """The advice for all failures of a cluster, with what they have in common."""
    if not found:
        return advice
    first = found[0]
    all_of = f"All {count}" if first.failed == first.failed_of else f"{first.failed} of {count}"
    if first.what == "node":
        return f"{advice} {all_of} ran on node {first.value[1:]}: have it checked, or cordon it."
    if first.what == "gpu":
        return f"{advice} {all_of} ran on a {first.value[1:]}: ask for others with resources.gpuModels."
    if first.what == "image":
        return f"{advice} {all_of} have the image {first.value[1:]}: try another."
    name = first.what + first.value
    if reason in _ONLY_OPERATION:
        return f"{advice} {all_of} have {name}."
    return f"{advice} {all_of} have {name}: change what it does, or leave it out of the search."


_ONLY_OPERATION = frozenset({Reason.PREEMPTED, Reason.DRAINED, Reason.NODE_LOST, Reason.INFRASTRUCTURE})


def _all_words(message: str, evidence: Evidence | None) -> str:
    chain = fatal(evidence.text) if evidence is not None and evidence.text else ()
    return "\n".join((message, *(one.statement for one in chain)))


_Special = Callable[[str, "Evidence | None"], str]
_MODULE = re.compile(r"No module named '?([\w.]+)'?")
_NAME_FROM = re.compile(r"cannot import name '?(\w+)'? from '?([\w.]+)'?")
_LIBRARY = re.compile(r"(lib[\w+-]+\.so[\w.]*): cannot open shared object file")
_GPU_TOTAL = re.compile(r"(?:total capac\w+ of|;) ([\d.]+ [GM]iB)(?: total capacity)?")
_TRIED = re.compile(r"Tried to allocate ([\d.]+ [KMGT]iB)")
_XID = re.compile(r"Xid[^\n:]{0,40}:? ?(\d{1,3})|Xid \([^)]*\): (\d{1,3})")
_FILE = re.compile(r"No such file or directory: '?([^'\n]+?)'?$", re.MULTILINE)
_KEY = re.compile(
    r"KeyError: '([A-Z][A-Z0-9_]{2,})'|\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)['\"]? (?:is|was|must be"
    r"|has to be) (?:not |un)?(?:set|defined|empty|missing)"
)


def _import(words: str, _: Evidence | None) -> str:
    if found := _MODULE.search(words):
        top = found[1].partition(".")[0]
        return f"The image lacks the module {found[1]}: add {top} to the image (pip install), or correct the import."
    if found := _NAME_FROM.search(words):
        return f"{found[2]} in this image has no {found[1]}: pin the version that the program was written for."
    if found := _LIBRARY.search(words):
        return f"The image lacks the system library {found[1]}: install the package that has it."
    return ""


def _memory(_: str, evidence: Evidence | None) -> str:
    if evidence is None or not evidence.memory:
        return ""
    return f"Raise resources.memory above {evidence.memory}, or lower batch size, image size or number of data workers."


def _cuda_memory(words: str, _: Evidence | None) -> str:
    tried, total = _TRIED.search(words), _GPU_TOTAL.search(words)
    if not tried or not total:
        return ""
    return (
        f"It asked for {tried[1]} more on a GPU of {total[1]}: lower the batch or image size, use mixed "
        f"precision, or ask "
        "for more with resources.minGpuMemory."
    )


# What NVIDIA's list of Xid errors says of them, in a word.
_XIDS = {13: "program", 31: "program", 43: "program", 45: "program", 48: "memory", 63: "memory", 64: "memory",
         74: "link", 79: "bus", 92: "memory", 94: "memory", 95: "memory", 119: "firmware", 120: "firmware"}  # fmt: skip
_XID_ADVICE = {
    "program": "Xid {0} is most often the program's own fault (an address out of bounds): if it happens on "
    "several nodes, "
    "look there; else have the GPU checked.",
    "memory": "Xid {0} is an error of the GPU's memory: cordon the node, reset the GPU, replace it if it comes back.",
    "link": "Xid {0} is an error of NVLink: cordon the node and have the link checked.",
    "bus": "Xid {0}: the GPU has fallen off the bus; cordon and restart the node, check power and temperature.",
    "firmware": "Xid {0}: the GPU's firmware does not answer; cordon and restart the node.",
}


def _hardware(words: str, _: Evidence | None) -> str:
    found = _XID.search(words)
    number = int(found[1] or found[2]) if found else 0
    return _XID_ADVICE[_XIDS[number]].format(number) if number in _XIDS else ""


def _data(words: str, evidence: Evidence | None) -> str:
    found = _FILE.search(words)
    if found is None:
        return ""
    path = found[1].strip()
    mounts = [mount for mount in (evidence.data_paths if evidence else ()) if path.startswith(mount)]
    if mounts:
        return f"{path[:200]} is not on the volume at {mounts[0]}: check the claim, its subPath and the file's name."
    if evidence is not None and path.startswith("/"):
        there = ", ".join(evidence.data_paths) or "none"
        return f"{path[:200]} is on no data volume of this run (mounted: {there}): add it to data, or correct the path."
    return ""


def _kernel(_: str, evidence: Evidence | None) -> str:
    kernel = asserted(evidence.text, fatal(evidence.text)) if evidence is not None and evidence.text else None
    if kernel is None:
        return ""
    where = f" in {kernel.kernel}" if kernel.kernel else ""
    return (
        f"The GPU found that {kernel.check[:200]} does not hold{where}: look at the labels or indices that it got. "
        "CUDA_LAUNCH_BLOCKING=1 shows the line that gave them."
    )


def _config(words: str, _: Evidence | None) -> str:
    found = _KEY.search(words)
    return f"Set the environment variable {found[1] or found[2]} in template.env, or from a Secret." if found else ""


def _storage(words: str, _: Evidence | None) -> str:
    if "Read-only file system" not in words:
        return ""
    return (
        "If it does not pass: look whether the claim behind the output folder is read-only (its volume's readOnly, its "
        "access mode), or its storage has turned so after an error."
    )


_SPECIAL: dict[str, _Special] = {
    Reason.INFRASTRUCTURE: _storage,
    Reason.IMPORT_ERROR: _import,
    Reason.OUT_OF_MEMORY_KILLED: _memory,
    Reason.CUDA_OUT_OF_MEMORY: _cuda_memory,
    Reason.GPU_HARDWARE: _hardware,
    Reason.CUDA_ERROR: _kernel,
    Reason.DATA_ERROR: _data,
    Reason.CONFIG_ERROR: _config,
}
