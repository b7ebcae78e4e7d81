"""Learning in spite of wrong labels: a teacher made of the student's past, and which slices or pixels to learn from.

Functions only; the training calls them, so that all that has to be kept over a resume is the teacher's weights and
`Gate.state_dict()`.
"""

from __future__ import annotations

import math

import torch

from ctseg.config.robust import Selection, Teacher

# --- the teacher ------------------------------------------------------------------------------------------------------


def ramp_up(config: Teacher, *, epoch: float) -> float:
    """The teacher's weight `epoch` epochs (a fraction too) after the start (Laine and Aila 2017)."""
    if epoch >= config.ramp_up_epochs:
        return config.weight
    return config.weight * math.exp(-5 * (1 - epoch / config.ramp_up_epochs) ** 2)


def agreement(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """(N,): the mean squared difference of the probabilities (Tarvainen and Valpola 2017), over all pixels, labelled
    or not. The teacher's logits get no gradient.
    """
    difference = torch.sigmoid(student.float()) - torch.sigmoid(teacher.detach().float())
    return difference.square().flatten(1).mean(1)


@torch.no_grad()
def follow(teacher: torch.nn.Module, student: torch.nn.Module, *, decay: float, step: int) -> None:
    """Moves the teacher's weights to decay x its own + (1 - decay) x the student's; buffers (statistics of batch
    normalisation) become the student's.

    In the first steps the teacher keeps less, 1 - 1 / (step + 1) at most, and at step 0 it becomes the student: a
    teacher that remembers random weights teaches noise.
    """
    keep = min(decay, 1 - 1 / (step + 1))
    mine: list[torch.Tensor] = list(teacher.parameters())
    torch._foreach_lerp_(mine, [value.detach() for value in student.parameters()], 1 - keep)
    for own, other in zip(teacher.buffers(), student.buffers(), strict=True):
        own.copy_(other)


class Gate:
    """Whether the teacher learns from a step: not from one whose loss is far above the student's of late.

    After Wang et al. 2020 (COPLE-Net): where the student's loss is large, it was led astray by a wrong label. Their
    threshold is fixed for one loss and one data set; here it is relative to the running mean, so that it fits any.
    """

    DECAY = 0.95
    """Of the running mean: about the last 20 steps."""

    def __init__(self, config: Teacher) -> None:
        self.factor = config.skip_above
        self.mean: float | None = None
        self.skipped = 0
        """Steps refused so far, for the record."""

    def admits(self, loss: float) -> bool:
        """Called once a step with the student's loss; counts it in. A refused one counts as the limit it was above, so
        that one wild value does not open the gate for the next, and a lasting rise is let through in the end.
        """
        if self.factor is None:
            return True
        if self.mean is None:
            self.mean = loss
            return True
        limit = self.factor * self.mean
        self.mean = self.DECAY * self.mean + (1 - self.DECAY) * min(loss, limit)
        if loss > limit:
            self.skipped += 1
        return loss <= limit

    def state_dict(self) -> dict[str, float | int | None]:
        return {"mean": self.mean, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        self.mean = state["mean"]
        self.skipped = int(state["skipped"] or 0)


# --- selection --------------------------------------------------------------------------------------------------------


def kept_share(config: Selection, *, epoch: float) -> float:
    """R(t) = 1 - (1 - keep) min((t / epochs)^exponent, 1) (Han et al. 2018, co-teaching)."""
    progress = 1.0 if epoch >= config.epochs else (epoch / config.epochs) ** config.exponent
    return 1 - (1 - config.keep) * progress


@torch.no_grad()
def select(per_slice: torch.Tensor, keep: float, valid: torch.Tensor) -> torch.Tensor:
    """(N,) weights for `losses.mean`: of the slices with labels, the share `keep` with the smallest loss (rounded, at
    least one) gets (labelled / kept), so that the mean is that over the kept ones; all others 0.

    Of equal losses the first is kept. `per_slice` has to be of a loss with values per slice (`Loss.per_slice`).
    """
    labelled = (valid.flatten(1) > 0).any(1)
    count = labelled.sum()
    kept = torch.minimum((keep * count + 0.5).floor().clamp(min=1), count)
    # Slices without labels have loss 0 and would always come first.
    order = torch.where(labelled, per_slice.detach().float(), math.inf).argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return torch.where(rank < kept, count / kept.clamp(min=1), 0.0)


@torch.no_grad()
def select_pixels(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, keep: float) -> torch.Tensor:
    """`valid` without the labels that fit worst: of each slice the share `keep` with the smallest |t - p| stays.

    Lesion (target of at least 0.5) and background apart: a lesion is few pixels, and hard ones; selected together with
    the background, it would be the first to go. Of equal ones all stay.
    """
    miss = (torch.sigmoid(logits.float()) - target.float()).abs().flatten(1)
    labelled = valid.flatten(1) > 0
    lesion = target.flatten(1) >= 0.5
    result = torch.zeros_like(labelled)
    for part in (labelled & lesion, labelled & ~lesion):
        count = part.sum(1, keepdim=True)
        kept = torch.minimum((keep * count + 0.5).floor().clamp(min=1), count)
        ordered = torch.where(part, miss, math.inf).sort(1).values
        limit = ordered.gather(1, (kept.long() - 1).clamp(min=0))
        result |= part & (miss <= limit)
    return result.view_as(valid).to(valid.dtype)
