"""The two sides of a split as batches, their labels joined. Where the labels are used as they are on disk, neither
they nor the images are copied; else the joined labels alone are kept in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ctseg import weak
from ctseg.batches import Batches
from ctseg.config import Data
from ctseg.data.samples import Samples
from ctseg.labels import join


def learnt(samples: Samples, rows: Sequence[int], data: Data, device: torch.device) -> Batches:
    """To learn from: by the rule for annotators, then points where these are asked for."""
    rule = data.annotators.rule
    if join.leaves_alone(samples.annotators, rule, judge=False) and not data.points.enabled:
        return Batches(samples, device, rows=rows)
    joined = weak.to_learn(join.to_learn(samples.labels(rows), rule), data.points)
    return Batches(samples, device, rows=rows, masks=joined.masks)


def judged(samples: Samples, rows: Sequence[int], data: Data, device: torch.device) -> Batches:
    """To be judged by."""
    rule = data.annotators.rule
    if join.leaves_alone(samples.annotators, rule, judge=True):
        return Batches(samples, device, rows=rows)
    return Batches(samples, device, rows=rows, masks=join.to_judge(samples.labels(rows), rule).masks)
