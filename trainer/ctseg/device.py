"""The machine: which device, how many CPU threads, how much determinism."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

import orkrun
from ctseg.config import Params
from ctseg.launch import Place

ONLY = Place(rank=0, count=1)


def set_up(params: Params, place: Place = ONLY) -> torch.device:
    """Sets torch's threads and determinism; returns the device of this process. Raises orkrun.InvalidParams for a GPU
    that is not there.
    """
    torch.set_num_threads(params.threads or max(available_cpus() // place.count, 1))
    if params.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
        # Not use_deterministic_algorithms: that also imports the compiler.
        torch.set_deterministic_debug_mode("warn")
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    if params.device == "cuda" and not torch.cuda.is_available():
        raise orkrun.InvalidParams("device", "cuda is asked for, but torch sees no GPU here; auto takes what is there")
    use_gpu = params.device != "cpu" and torch.cuda.is_available()
    if place.count > 1 and params.device != "cpu":
        _check_gpus(place.count)
        torch.cuda.set_device(place.rank)
        return torch.device("cuda", place.rank)
    return torch.device("cuda" if use_gpu else "cpu")


def _check_gpus(wanted: int) -> None:
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen < wanted:
        raise orkrun.InvalidParams(
            "devices", f"{wanted} processes need as many GPUs, torch sees {seen} here; auto takes those there are"
        )


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs that the container may use: its cgroup's quota, rounded up, within those it may run on.

    torch counts those of the whole node, and 64 threads on 2 CPUs are many times slower than 2.
    """
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        return allowed


def memory_format(params: Params, device: torch.device) -> torch.memory_format:
    """Channels last where it is asked for; unless said otherwise on a GPU, whose convolutions are made for it."""
    wanted = device.type == "cuda" if params.channels_last is None else params.channels_last
    return torch.channels_last if wanted else torch.contiguous_format
