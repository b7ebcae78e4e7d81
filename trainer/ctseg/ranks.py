"""Several processes that train one network on one machine, a GPU each: who one is, and sums over all.

`ALONE` is the only process there is; with it nothing here costs anything. Each process holds the whole network and
does the same steps on its own part of every batch; what they share are sums, so that all of them know the same
numbers and decide the same without asking. Only the first reports and writes files.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

import orkrun
from ctseg import launch

_TIMEOUT = datetime.timedelta(minutes=30)
"""Of waiting for another process, which may be decoding slices or writing a checkpoint."""
_FAILED = "failed"
_TELLS_WITHIN = 2.0
"""Seconds that one which dies may take to say why."""


class RankLost(orkrun.RunError):
    """Another process of this training has ended, and this one cannot go on without it. `killed`: by whom or what is
    not known, so that another attempt may go well.
    """

    def __init__(self, message: str, *, killed: bool) -> None:
        super().__init__(message)
        if killed:
            self.exit_code = orkrun.ExitCode.TRY_AGAIN


RankLost.__module__ = "ctseg"


class Ranks:
    """The only process. The base of `Several`. At the end of a `with`, the others are left, and told of an error."""

    rank = 0
    count = 1

    @property
    def first(self) -> bool:
        """Whether this one reports and writes."""
        return self.rank == 0

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether any process has set it. All have to call it, at the same place."""
        return flags

    def add_up(self, values: torch.Tensor) -> None:
        """The sum over all processes, in place. To the bit the same in all of them."""

    def added(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return values

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nobody to leave."""


ALONE = Ranks()


class Several(Ranks):
    """One of `count` processes. Flags and counts go over gloo, what is on GPUs over NCCL."""

    def __init__(self, rank: int, count: int, device: torch.device, *, url: str) -> None:
        import torch.distributed as dist
        from torch.distributed.rendezvous import rendezvous

        self.rank, self.count = rank, count
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine: the host's name need not resolve
        self._store, _, _ = next(rendezvous(url, rank, count, timeout=_TIMEOUT))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            store=self._store,
            rank=rank,
            world_size=count,
            timeout=_TIMEOUT,
        )

    def agree(self, *flags: bool) -> tuple[bool, ...]:
        told = torch.tensor(flags, dtype=torch.int32)
        self._reduce(told)
        return tuple(value > 0 for value in told.tolist())

    def add_up(self, values: torch.Tensor) -> None:
        self._reduce(values)

    def added(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        total = torch.from_numpy(np.array(values))
        self._reduce(total)
        return total.numpy()

    def _reduce(self, values: torch.Tensor) -> None:
        import torch.distributed as dist

        try:
            dist.all_reduce(values)
        except RuntimeError as error:
            raise self._lost(error) from error

    def _lost(self, error: RuntimeError) -> RankLost:
        deadline = time.monotonic() + _TELLS_WITHIN
        with contextlib.suppress(RuntimeError):
            while time.monotonic() < deadline:
                if self._store.check([_FAILED]):
                    return RankLost(str(self._store.get(_FAILED), "utf-8", "replace"), killed=False)
                time.sleep(0.05)
        return RankLost(
            f"one of the {self.count} processes of this training has ended without a word, most likely killed for "
            f"memory ({str(error).splitlines()[0][:200]})",
            killed=True,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import torch.distributed as dist

        if error is not None and not isinstance(error, RankLost | orkrun.Interrupted):
            text = f"process {self.rank} of {self.count} ended by {type(error).__name__}: {str(error)[:1000]}"
            with contextlib.suppress(RuntimeError):
                self._store.set(_FAILED, text)
        # Also after an error: a thread of gloo that lets go of its last tensor while Python shuts down aborts the
        # process, and the exit code says nothing of what it ended by. Seen once in ten ends.
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def join(device: torch.device, environ: Mapping[str, str] = os.environ) -> Ranks:
    """Meets the other processes, if this one was started as one of several. `device` is its own."""
    place = launch.place(environ)
    if place.count == 1:
        return ALONE
    store = environ.get(launch.ENV_STORE)
    url = "env://" if store is None else f"file://{store}"
    return Several(place.rank, place.count, device, url=url)


def flatten(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """All in one vector: one sum over processes instead of hundreds."""
    return torch.cat([tensor.detach().reshape(-1).float() for tensor in tensors])


def unflatten(flat: torch.Tensor, tensors: Sequence[torch.Tensor]) -> None:
    """Writes them back."""
    start = 0
    for tensor in tensors:
        end = start + tensor.numel()
        tensor.detach().copy_(flat[start:end].view(tensor.shape))
        start = end
