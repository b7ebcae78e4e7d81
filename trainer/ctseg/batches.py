"""Slices as tensors on the device, and the order in which a training sees them.

Order, augmentation and dropout are functions of (seed, step) alone. That is what makes a resume exact: there is no
state of a random generator or a sampler that could be forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from ctseg.data.samples import IGNORE, LESION, Samples
from ctseg.labels.fuse import draw


class Batches:
    """All slices as uint8 on the device (at 160 pixels 10,000 of them are 512 MB with masks), made floats batch by
    batch.
    """

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.cases = samples.cases
        self._images = torch.from_numpy(np.ascontiguousarray(samples.images)).to(device)
        self._masks = torch.from_numpy(np.ascontiguousarray(samples.masks)).to(device)
        self._labelled = (samples.masks != IGNORE).any(axis=(2, 3))

    def __len__(self) -> int:
        return len(self.cases)

    def take(
        self, index: Sequence[int], *, rng: np.random.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images in 0..1, (n, C, H, W); probabilities of lesion and where there is a label (1, else 0), (n, 1, H, W).
        All float32; the probability where there is no label is 0. Where annotators were left apart, `rng` draws one for
        each slice.
        """
        chosen = torch.as_tensor(list(index), device=self._images.device)
        masks = self._masks[chosen]
        if masks.shape[1] > 1:
            if rng is None:
                raise ValueError("several annotators were left apart: which one is learnt from needs rng")
            drawn = torch.from_numpy(draw(self._labelled[list(index)], rng)).to(masks.device)
            masks = masks[torch.arange(len(masks), device=masks.device), drawn][:, None]
        valid = (masks != IGNORE).float()
        return self._images[chosen].float() / 255, masks.float() * valid / LESION, valid


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


def seed_step(*, seed: int, step: int) -> None:
    """Sets torch's global random state (dropout, stochastic depth) for one step, on every device."""
    torch.manual_seed(_number(seed, 3, step))


def seed_start(*, seed: int) -> None:
    """Sets torch's global random state for the initial weights."""
    torch.manual_seed(_number(seed, 0, 0))


def _number(seed: int, purpose: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, purpose, step]).generate_state(1, np.uint64)[0] >> 1)
