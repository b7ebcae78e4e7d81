"""What a step minimizes: the loss, of the labels that are selected, and the consistency with a transformed copy and
with the teacher. The only state is the teacher's; the training calls this and keeps `state_dict` in its checkpoints.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from ctseg import losses, robust, weak
from ctseg.config import Params

Forward = Callable[[torch.Tensor], torch.Tensor]


class Objective:
    """A callable that gives the scalar of one batch or micro-batch."""

    def __init__(self, params: Params, model: torch.nn.Module) -> None:
        """`model` is on its device already; the teacher begins as its copy."""
        self.loss = losses.build(params.loss)
        """The loss of each slice, for the held-out ones too."""
        self._consistency, self._selection, self._config = params.consistency, params.selection, params.teacher
        self._gate = robust.Gate(params.teacher)
        self.teacher: torch.nn.Module | None = None
        if params.teacher.weight > 0:
            self.teacher = copy.deepcopy(model).requires_grad_(False).eval()

    def __call__(
        self,
        forward: Forward,
        images: torch.Tensor,
        target: torch.Tensor,
        valid: torch.Tensor,
        *,
        epoch: float,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """The scalar to minimize. `forward` gives the logits of the network in training (inside of autocast, where
        there is any); `epoch` counts from 0, with the part of it that is over; `generator`, on the CPU, draws the
        transform.
        """
        logits = forward(images)
        valid = self.selected(logits, target, valid, epoch=epoch)
        total = losses.mean(self.loss(logits, target, valid), valid)
        if self._consistency.weight > 0:
            given = (images, target, valid, logits, self.loss, generator, self._consistency)
            total = total + weak.consistency(forward, *given).mean()
        weight = robust.ramp_up(self._config, epoch=epoch)
        if self.teacher is not None and weight > 0:
            with torch.no_grad():
                taught = self.teacher(images)
            total = total + weight * robust.agreement(logits, taught).mean()
        return total

    def selected(
        self, logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, epoch: float
    ) -> torch.Tensor:
        """`valid` without the labels that are not learnt from in this epoch.

        A slice is left out by taking all its labels: so it is no part of a fraction over the batch either.
        """
        share = robust.kept_share(self._selection, epoch=epoch)
        if share >= 1:
            return valid
        logits = logits.detach()
        if self._selection.by == "pixel":
            return robust.select_pixels(logits, target, valid, share)
        weights = robust.select(self.loss(logits, target, valid), share, valid)
        return valid * (weights > 0).to(valid.dtype).view(-1, 1, 1, 1)

    def stepped(self, model: torch.nn.Module, *, value: float, step: int) -> None:
        """After a step of the optimizer (`step` counts from 0) whose loss was `value`: the teacher follows, or not."""
        if self.teacher is not None and self._gate.admits(value):
            robust.follow(self.teacher, model, decay=self._config.decay, step=step)

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: the teacher and its gate."""
        if self.teacher is None:
            return {}
        return {"teacher": self.teacher.state_dict(), "gate": self._gate.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises KeyError or RuntimeError for the state of another configuration."""
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])
            self._gate.load_state_dict(state["gate"])
