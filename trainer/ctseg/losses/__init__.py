"""The losses, on logits, each with one value per slice: what is minimized is `mean` of them.

Shapes: logits, target and valid (N, 1, H, W); target 0..1, the probability of lesion; valid 1 where there is a label
and 0 where there is none. Whatever stands at a pixel without a label, in logits or target, changes neither value nor
gradient. A slice without any label gives exactly 0.

Own code, because segmentation-models-pytorch's give one value per batch, drop slices without a lesion (Dice) and
multiply logits of ignored pixels by 0 (cross-entropy), which counts them as predictions of 0.5; on hard, whole labels
both agree (tests).
"""

from __future__ import annotations

from ctseg.losses.build import LossFunction, build, mean, prepare

__all__ = ["LossFunction", "build", "mean", "prepare"]
