"""What happens where the device has no memory left: the batch is taken in smaller parts, and it is the same batch."""

from __future__ import annotations

import gc

import torch


def parts(count: int, micro_batch: int, *, ranks: int = 1) -> list[slice]:
    """A batch of `count` slices in as few parts as `micro_batch` allows, of sizes that differ by one at most: a rest of
    one slice would be hard on batch normalisation. Of several processes each takes every `ranks`-th part and all have
    as many; the last parts of a small batch are empty then.
    """
    number = ranks * -(-count // (micro_batch * ranks))
    small, larger = divmod(count, number)
    ends = [small * (i + 1) + min(i + 1, larger) for i in range(number)]
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def free() -> None:
    """Gives back what nothing refers to any more. To be called outside of the `except` block: until it is left, the
    traceback holds on to every activation.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Buffers:
    """The statistics of batch normalisation as they were before a step, for the step that has to be done again."""

    def __init__(self, model: torch.nn.Module) -> None:
        # By type: those of one are copied by one kernel on a GPU, where a launch for each would cost more than a step
        # of a small network.
        self._own: dict[torch.dtype, list[torch.Tensor]] = {}
        for buffer in model.buffers():
            self._own.setdefault(buffer.dtype, []).append(buffer.detach())
        self._kept = {dtype: [torch.empty_like(one) for one in own] for dtype, own in self._own.items()}

    @torch.no_grad()
    def keep(self) -> None:
        for dtype, own in self._own.items():
            torch._foreach_copy_(self._kept[dtype], own)

    @torch.no_grad()
    def restore(self) -> None:
        for dtype, own in self._own.items():
            torch._foreach_copy_(own, self._kept[dtype])
