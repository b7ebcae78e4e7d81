"""One pass over the held-out slices: loss and the counts that metrics are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ctseg import metrics
from ctseg.batches import Batches
from ctseg.losses import LossFunction

THRESHOLD = 0.5  # of the probability; the same for every model


def evaluate(
    model: torch.nn.Module, batches: Batches, loss: LossFunction, *, batch_size: int, between: Callable[[], None]
) -> dict[str, float]:
    """`loss` (mean over slices) and all of `metrics.summarize`. Calls `between` before each batch, which may raise.

    The model is left in the mode it was in.
    """
    was_training = model.training
    model.eval()
    counts: list[metrics.Counts] = []
    total, slices = 0.0, 0
    try:
        with torch.inference_mode():
            for start in range(0, len(batches), batch_size):
                between()
                images, masks, valid = batches.take(range(start, min(start + batch_size, len(batches))))
                logits = model(images)
                total += float(loss(logits, masks, valid).sum())
                slices += int(valid.flatten(1).any(1).sum())
                said, true, labelled = torch.sigmoid(logits) > THRESHOLD, masks >= THRESHOLD, valid.bool()
                counts.append(metrics.count(*(one.squeeze(1).cpu().numpy() for one in (said, true, labelled))))
    finally:
        model.train(was_training)
    return {"loss": total / max(slices, 1), **metrics.summarize(np.concatenate(counts), batches.cases)}
