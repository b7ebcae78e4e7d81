"""Starts one process for each GPU and ends as they end. No torch, unless there is more than one GPU to count.

torchrun can start them too. In a pod it would hide what the exit code says: it ends by 1 whatever a training ends by,
and by a traceback at SIGTERM.
"""

from __future__ import annotations

import ctypes
import glob
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import orkrun
from ctseg import config

ENV_STORE = "CTSEG_STORE"
"""The file through which the processes find each other; only those started here have it."""
GRACE = 15.0
"""Seconds after SIGTERM that the others have once one has failed: a process that waits for the dead one sees no
signal. Within the 30 that Kubernetes gives a pod.
"""
_POLL = 0.1  # seconds
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Which of how many processes this one is; the names in the environment are torchrun's."""

    rank: int
    count: int


def place(environ: Mapping[str, str] = os.environ) -> Place:
    """Raises orkrun.InvalidParams where the processes are on several machines."""
    rank, count = int(environ.get("RANK", "0")), int(environ.get("WORLD_SIZE", "1"))
    if int(environ.get("LOCAL_WORLD_SIZE", str(count))) != count:
        raise orkrun.InvalidParams("devices", "a training is on one machine: torchrun --nnodes 1")
    return Place(rank, count)


def processes(params: config.Params, environ: Mapping[str, str] = os.environ) -> int:
    """How many are to be started from here; 1: none, this process is the training or one of its processes."""
    if "RANK" in environ:
        return 1
    if params.devices != "auto":
        return params.devices
    # A pod has the device files of its own GPUs only. Asking torch takes two seconds, so only where there are several.
    if params.device == "cpu" or len(glob.glob("/dev/nvidia[0-9]*")) < 2:
        return 1
    import torch

    return max(torch.cuda.device_count(), 1)


def run(count: int, command: Sequence[str] | None = None) -> int:
    """Starts `command` (this process's own) `count` times; returns the exit code of the whole.

    SIGTERM and SIGINT are passed on. When one fails, or the first has done, the others are ended. The code is that of
    the first process, which has written the record, where it ended by itself; else of the one that failed first.
    """
    command = [sys.executable, *sys.orig_argv[1:]] if command is None else command
    with tempfile.TemporaryDirectory(prefix="ctseg-") as folder:
        children: list[subprocess.Popen[bytes]] = []
        with _passing_on(children):
            for rank in range(count):
                about = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
                environ = {**os.environ, **{name: str(value) for name, value in about.items()}}
                environ[ENV_STORE] = os.path.join(folder, "store")
                # Of their own session: Ctrl-C at a terminal comes once, from here.
                children.append(subprocess.Popen(command, env=environ, start_new_session=True))
            return _exit_code(children)


def end_with_parent() -> None:
    """In a process started here: it gets SIGTERM when its parent dies, however that dies."""
    if ENV_STORE in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _exit_code(children: Sequence[subprocess.Popen[bytes]]) -> int:
    failed: int | None = None
    deadline = float("inf")
    while True:
        codes = [child.poll() for child in children]
        if failed is None and (failed := next((code for code in codes if code), None)) is not None:
            _send(children, signal.SIGTERM)
        if deadline == float("inf") and (failed is not None or codes[0] == 0):
            deadline = time.monotonic() + GRACE
        if None not in codes:
            break
        if time.monotonic() > deadline:
            _send(children, signal.SIGKILL)
        time.sleep(_POLL)
    own = codes[0] or 0
    code = own if own >= 0 or failed is None else failed
    return code if code >= 0 else 128 - code


def _send(children: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for child in children:
        child.send_signal(number)  # nothing where it has ended


@contextmanager
def _passing_on(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    def on_signal(number: int, frame: FrameType | None) -> None:
        _send(children, number)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
