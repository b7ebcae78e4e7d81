"""Weak labels after Laradji et al. 2021 (weakly supervised consistency-based learning): points made from masks, and
the consistency of a network's answers under mirrors and quarter turns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from ctseg.config.weak import Consistency, Points
from ctseg.data.samples import IGNORE, LESION, Samples
from ctseg.losses import LossFunction

Uint8 = npt.NDArray[np.uint8]


def to_learn(samples: Samples, config: Points) -> Samples:
    """The slices to learn from, with points for masks where the config says so. Annotators are to be joined before:
    points of several are at different pixels, so none would outvote another.
    """
    if not config.enabled:
        return samples
    return replace(samples, masks=points(samples.masks, names=samples.names, config=config))


def points(masks: Uint8, *, names: Sequence[str], config: Points) -> Uint8:
    """Masks (n, A, H, W) to points of the same coding: all but the points is IGNORE.

    One lesion point for each connected component (8 neighbours) of what is probably lesion: its centroid or, where
    that lies outside, the pixel of it that is nearest. As many background points, drawn by `config.seed`, the slice's
    name and the annotator's place, so that a slice has the same points in whatever order it comes.
    """
    result = np.full_like(masks, IGNORE)
    for i, name in enumerate(names):
        for annotator, plane in enumerate(masks[i]):
            key = hashlib.sha256(f"{config.seed}:{annotator}:{name}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(key[:8], "big"))
            result[i, annotator] = _points_of_plane(plane, rng=rng, empty=config.empty)
    return result


def _points_of_plane(plane: Uint8, *, rng: np.random.Generator, empty: int) -> Uint8:
    # Here: scipy costs a tenth of a second, and most trainings have masks.
    from scipy import ndimage

    result = np.full_like(plane, IGNORE)
    lesion = (plane != IGNORE) & (plane > LESION / 2)
    components, count = ndimage.label(lesion, structure=np.ones((3, 3), int))
    for number, where in enumerate(ndimage.find_objects(components), start=1):
        rows, columns = np.nonzero(components[where] == number)
        nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        result[where[0].start + rows[nearest], where[1].start + columns[nearest]] = LESION
    background = np.flatnonzero((plane != IGNORE) & ~lesion)
    wanted = min(count or empty, len(background))
    result.flat[rng.choice(background, size=wanted, replace=False)] = 0
    return result


def transform(
    config: Consistency, *, generator: torch.Generator, square: bool
) -> tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]:
    """A mirror or turn drawn for a whole batch (N, C, H, W), and the way back.

    A batch that is not square can only be turned by 180 degrees (and, for `both`, by none).
    """
    quarters = {"flip": [0], "rotate": [1, 2, 3] if square else [2], "both": [0, 1, 2, 3] if square else [0, 2]}
    choices = quarters[config.transform]
    turn = choices[int(torch.randint(len(choices), (), generator=generator))]
    mirror = config.transform != "rotate"

    def there(batch: torch.Tensor) -> torch.Tensor:
        return torch.rot90(batch.flip(3) if mirror else batch, turn, (2, 3))

    def back(batch: torch.Tensor) -> torch.Tensor:
        turned = torch.rot90(batch, -turn, (2, 3))
        return turned.flip(3) if mirror else turned

    return there, back


def consistency(
    model: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    logits: torch.Tensor,
    loss: LossFunction,
    generator: torch.Generator,
    config: Consistency,
) -> torch.Tensor:
    """(N,): weight x mean |T^-1 f(T x) - f(x)| over all pixels, labelled or not, on logits, + the loss of f(T x).

    What to minimize is `losses.mean(loss(logits, target, valid), valid) + consistency(...).mean()`. The loss of f(T x)
    is scaled so that its mean over all slices is the one over the labelled: a slice without a label has to be
    consistent too. Both answers have gradients, as in the original.
    """
    there, back = transform(config, generator=generator, square=images.shape[2] == images.shape[3])
    answer = back(model(there(images)))
    # In single precision: the difference of two large float16 logits has lost its digits, their sum may overflow.
    difference = (answer.float() - logits.float()).abs().flatten(1).mean(1)
    labelled = (valid.flatten(1) > 0).any(1).sum().clamp(min=1)
    return config.weight * difference + loss(answer, target, valid) * (len(images) / labelled)
