"""One pass over the held-out slices: loss and the counts that metrics are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ctseg import metrics
from ctseg.batches import Batches
from ctseg.losses import LossFunction
from ctseg.ranks import ALONE, Ranks

THRESHOLD = 0.5  # of the probability; the same for every model


@contextmanager
def judging(model: torch.nn.Module) -> Iterator[None]:
    """Without gradients, in evaluation mode; the model is left in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def evaluate(
    model: torch.nn.Module,
    batches: Batches,
    loss: LossFunction,
    *,
    batch_size: int,
    between: Callable[[], None],
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """`loss` (mean over slices) and all of `metrics.summarize`. Calls `between` before each batch, which may raise.

    Of several processes each takes every so many-th batch, and all get the same figures; where one has no memory left
    all raise torch.OutOfMemoryError. The model is left in the mode it was in.
    """
    counts = np.zeros((len(batches), 4), np.int64)
    total, slices = 0.0, 0
    with judging(model):
        for start in range(0, len(batches), batch_size * ranks.count):
            between()
            own = range(len(batches))[start + ranks.rank * batch_size :][:batch_size]
            told = ""
            try:
                if own:
                    added, labelled, counts[own.start : own.stop] = _batch(model, batches, loss, own)
                    total, slices = total + added, slices + labelled
            except torch.OutOfMemoryError as error:
                if ranks.count == 1:
                    raise
                told = str(error)
            if any(ranks.agree(bool(told))):
                raise torch.OutOfMemoryError(told or "so says another process")
    total, slices = ranks.added(np.array([total, slices], np.float64)).tolist()
    return {"loss": total / max(slices, 1), **metrics.summarize(ranks.added(counts), batches.cases)}


def _batch(
    model: torch.nn.Module, batches: Batches, loss: LossFunction, index: range
) -> tuple[float, int, metrics.Counts]:
    """The sum of its slices' losses, how many have labels, and the pixels of each."""
    images, masks, valid = batches.take(index)
    logits = model(images)
    said, true, labelled = torch.sigmoid(logits) > THRESHOLD, masks >= THRESHOLD, valid.bool()
    return (
        float(loss(logits, masks, valid).sum()),
        int(valid.flatten(1).any(1).sum()),
        metrics.count(*(one.squeeze(1).cpu().numpy() for one in (said, true, labelled))),
    )
