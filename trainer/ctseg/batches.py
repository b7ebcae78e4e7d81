"""Slices as tensors on the device, and the order in which a training sees them.

Order, augmentation and dropout are functions of (seed, step) alone. That is what makes a resume exact: there is no
state of a random generator or a sampler that could be forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ctseg.data.samples import IGNORE, LESION, Samples


class Batches:
    """All slices as uint8 on the device (at 160 pixels 10,000 of them are 512 MB with masks), made floats batch by
    batch.
    """

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self.cases = samples.cases
        self._images = torch.from_numpy(np.ascontiguousarray(samples.images)).to(device)
        self._masks = torch.from_numpy(np.ascontiguousarray(samples.masks)).to(device)

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, index: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Images in 0..1, float32 (n, C, H, W), and probabilities of lesion, float32 (n, 1, H, W)."""
        chosen = torch.as_tensor(list(index), device=self._images.device)
        return self._images[chosen].float() / 255, _lesion(self._masks[chosen])


def _lesion(masks: torch.Tensor) -> torch.Tensor:
    """(n, A, H, W) labels to the mean of the annotators who labelled each pixel, (n, 1, H, W); 0 where none did."""
    labelled = masks != IGNORE
    total = (masks.float() * labelled).sum(1, keepdim=True) / LESION
    return total / labelled.sum(1, keepdim=True).clamp(min=1)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches of an epoch. A last one of a single slice is left out (batch normalisation cannot learn from one value).

    Which slice that is differs from epoch to epoch, as the order does.
    """
    whole, rest = divmod(count, batch_size)
    return max(whole + (1 if rest > 1 else 0), 1)


def order(count: int, *, seed: int, epoch: int) -> list[int]:
    """The order of an epoch: a permutation that depends on seed and epoch only."""
    return np.random.Generator(np.random.PCG64([seed, 1, epoch])).permutation(count).tolist()  # type: ignore[no-any-return]


def generator(*, seed: int, step: int) -> torch.Generator:
    """The random generator of one step's augmentation."""
    return torch.Generator().manual_seed(_number(seed, 2, step))


def seed_step(*, seed: int, step: int) -> None:
    """Sets torch's global random state (dropout, stochastic depth) for one step, on every device."""
    torch.manual_seed(_number(seed, 3, step))


def seed_start(*, seed: int) -> None:
    """Sets torch's global random state for the initial weights."""
    torch.manual_seed(_number(seed, 0, 0))


def _number(seed: int, purpose: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, purpose, step]).generate_state(1, np.uint64)[0] >> 1)
