"""Slices as tensors on the device, and the order in which a training sees them.

Order, augmentation and dropout are functions of (seed, step) alone. That is what makes a resume exact: there is no
state of a random generator or a sampler that could be forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from ctseg.data.samples import IGNORE, LESION, Samples, Uint8
from ctseg.labels.fuse import draw


class Batches:
    """Slices as uint8, made floats on the device batch by batch."""

    def __init__(
        self,
        samples: Samples,
        device: torch.device,
        *,
        rows: Sequence[int] | None = None,
        masks: Uint8 | None = None,
        resident: bool | None = None,
    ) -> None:
        """Those of `rows` in that order (None: all), with `masks` (rows, A, H, W) for their own where given.

        Nothing is copied on a CPU: a batch is read from the samples' memory map, whose pages all trials on a machine
        share. On a GPU they are copied to it once where they fit (`resident` says otherwise), else batch by batch.
        """
        chosen = np.arange(len(samples)) if rows is None else np.asarray(rows, np.int64)
        self.cases = tuple(samples.cases[i] for i in chosen.tolist())
        own = (samples.masks, chosen) if masks is None else (masks, np.arange(len(masks)))
        self._images = _Slices(samples.images, chosen, device, resident=resident)
        self._masks = _Slices(*own, device, resident=resident)
        self._labelled = _labelled(*own) if own[0].shape[1] > 1 else None

    def __len__(self) -> int:
        return len(self.cases)

    def take(
        self, index: Sequence[int], *, rng: np.random.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images in 0..1, (n, C, H, W); probabilities of lesion and where there is a label (1, else 0), (n, 1, H, W).
        All float32; the probability where there is no label is 0. Where annotators were left apart, `rng` draws one for
        each slice.
        """
        places = list(index)
        masks = self._masks.take(places)
        if self._labelled is not None:
            if rng is None:
                raise ValueError("several annotators were left apart: which one is learnt from needs rng")
            drawn = torch.from_numpy(draw(self._labelled[places], rng)).to(masks.device)
            masks = masks[torch.arange(len(masks), device=masks.device), drawn][:, None]
        valid = (masks != IGNORE).float()
        return self._images.take(places).float() / 255, masks.float() * valid / LESION, valid


_RESIDENT_SHARE = 0.1
"""Of a GPU's free memory, at most, that images and that masks are given: the rest is the network's."""
_COPIED_AT_ONCE = 64 * 2**20  # bytes


class _Slices:
    """Rows of one array, where they are best kept for the device."""

    def __init__(self, array: Uint8, rows: npt.NDArray[np.int64], device: torch.device, *, resident: bool | None):
        self._array, self._rows, self._device = np.asarray(array), rows, device
        self._copy: torch.Tensor | None = None
        size = len(rows) * self._array[:1].nbytes
        if resident is None:
            resident = device.type == "cuda" and size <= _RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        if resident:
            self._copy = torch.empty((len(rows), *array.shape[1:]), dtype=torch.uint8, device=device)
            step = max(1, _COPIED_AT_ONCE * len(rows) // max(size, 1))
            for start in range(0, len(rows), step):
                self._copy[start : start + step] = torch.from_numpy(self._array[rows[start : start + step]])

    def take(self, places: list[int]) -> torch.Tensor:
        if self._copy is not None:
            return self._copy[torch.as_tensor(places, device=self._copy.device)]
        chosen = torch.from_numpy(self._array[self._rows[places]])
        if self._device.type == "cuda":
            return chosen.pin_memory().to(self._device, non_blocking=True)
        return chosen


def _labelled(masks: Uint8, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """(rows, A): who has labelled anything in each slice."""
    return np.stack([(masks[row] != IGNORE).any(axis=(1, 2)) for row in rows])


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches of an epoch. A last one of a single slice is left out (batch normalisation cannot learn from one value).

    Which slice that is differs from epoch to epoch, as the order does.
    """
    whole, rest = divmod(count, batch_size)
    return max(whole + (1 if rest > 1 else 0), 1)


def extra_per_epoch(own: int, extra: int, *, share: float) -> int:
    """How many of `extra` slices an epoch has beside `own` ones, so that they are `share` of it; at most all."""
    return min(extra, round(own * share / (1 - share)))


def order(count: int, *, seed: int, epoch: int, extra: int = 0, drawn: int = 0) -> list[int]:
    """The order of an epoch: a permutation of `count` slices, and of `drawn` of the `extra` ones after them, which
    take turns from epoch to epoch. Depends on seed and epoch only.
    """
    chosen = list(range(count))
    for place in range(epoch * drawn, (epoch + 1) * drawn):
        turn, position = divmod(place, extra)
        chosen.append(count + _turn(seed, turn, extra)[position])
    permutation = np.random.Generator(np.random.PCG64([seed, 1, epoch])).permutation(len(chosen))
    return [chosen[i] for i in permutation.tolist()]


@lru_cache(maxsize=2)
def _turn(seed: int, turn: int, extra: int) -> list[int]:
    return np.random.Generator(np.random.PCG64([seed, 5, turn])).permutation(extra).tolist()  # type: ignore[no-any-return]


def generator(*, seed: int, step: int) -> torch.Generator:
    """The random generator of one step's augmentation."""
    return torch.Generator().manual_seed(_number(seed, 2, step))


def annotator_generator(*, seed: int, step: int) -> np.random.Generator:
    """Decides which annotator each slice of one step is learnt from."""
    return np.random.Generator(np.random.PCG64([seed, 4, step]))


def seed_step(*, seed: int, step: int, rank: int = 0) -> None:
    """Sets torch's global random state (dropout, stochastic depth) for one step, on every device. Of several processes
    each has its own: they have other slices.
    """
    torch.manual_seed(_number(seed, 3, step) + rank)


def seed_start(*, seed: int) -> None:
    """Sets torch's global random state for the initial weights."""
    torch.manual_seed(_number(seed, 0, 0))


def _number(seed: int, purpose: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, purpose, step]).generate_state(1, np.uint64)[0] >> 1)
