"""One step of the optimizer: gradients of a batch, in as many parts as the device's memory asks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ctseg import batches
from ctseg import ranks as processes
from ctseg.objective import Objective
from ctseg.training import compiling, memory
from ctseg.training.precision import Precision
from ctseg.training.state import Progress

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Images, target and valid, already augmented."""


@dataclass(frozen=True, slots=True)
class Gradients:
    """What a step found, before the optimizer has done anything with it."""

    loss: float
    norm: float
    """Of all gradients, before clipping."""

    @property
    def finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class Stepper:
    """Forward and backward of one batch. Everything drawn in it depends on the seed and the step alone."""

    def __init__(
        self,
        model: torch.nn.Module,
        forward: Callable[[torch.Tensor], torch.Tensor],
        minimized: Objective,
        precision: Precision,
        optimizer: torch.optim.Optimizer,
        *,
        ranks: processes.Ranks = processes.ALONE,
    ) -> None:
        """`forward` is the model or its compiled form."""
        self.ranks = ranks
        self._tied = any(isinstance(module, torch.nn.SyncBatchNorm) for module in model.modules())
        self.model, self.forward, self.minimized = model, forward, minimized
        self.precision, self.optimizer = precision, optimizer
        self._buffers = memory.Buffers(model)
        self._parameters = list(model.parameters())  # walking the modules costs a launch-bound step a twentieth

    def gradients(
        self,
        batch: Batch,
        *,
        progress: Progress,
        seed: int,
        epoch: float,
        generator: torch.Generator,
        clip_norm: float | None,
        say: Callable[[str], None],
    ) -> Gradients:
        """Leaves the batch's gradients, clipped, in the parameters. Where the device's memory does not suffice, the
        micro-batch is halved (in `progress`, for all steps to come) and the same step is done again: with the same
        luck, from the same statistics. Raises torch.OutOfMemoryError where one slice is too much.

        Of several processes each computes its parts of the batch; all of them get the sum, or halve.
        """
        start = generator.get_state()
        self._buffers.keep()
        while True:
            told, again = "", False
            try:
                total = self._passes(batch, progress=progress, seed=seed, epoch=epoch, generator=generator)
                if self.ranks.count == 1:
                    return self._found(total, clip_norm)
                held = self._held(total)
                flat = processes.flatten(held)
            except torch.OutOfMemoryError as error:
                told = str(error).splitlines()[0]
                if self._tied:  # the others wait within their passes for this one's statistics
                    raise torch.OutOfMemoryError(
                        "no memory left on the device, and with sync_batch_norm the processes cannot halve their parts "
                        f"together: micro_batch_size below {progress.micro_batch} (step {progress.step}): {told}"
                    ) from error
            except Exception as error:
                # Of several processes the others may be past this step.
                again = self.ranks.count == 1 and compiling.gives_up(self.forward, error)
                if not again:
                    raise
            if self.ranks.count > 1 and not any(self.ranks.agree(bool(told))):
                self.ranks.add_up(flat)
                processes.unflatten(flat, held)
                return self._found(total, clip_norm)
            self.optimizer.zero_grad(set_to_none=True)
            memory.free()
            self._buffers.restore()
            generator.set_state(start)
            if again:
                continue
            told = told or "so says another process"
            size = min(progress.micro_batch, -(-len(batch[0]) // self.ranks.count))
            if size <= 1:
                raise torch.OutOfMemoryError(
                    f"one slice at a time is too much for the device's memory (step {progress.step}): {told}"
                )
            progress.micro_batch = size // 2
            progress.out_of_memory += 1
            say(f"WARNING: no memory left on the device for {size} slices at once, goes on with {size // 2}: {told}")

    def _passes(
        self, batch: Batch, *, progress: Progress, seed: int, epoch: float, generator: torch.Generator
    ) -> torch.Tensor:
        """Adds up the gradients of this process's parts; returns their share of the loss."""
        batches.seed_step(seed=seed, step=progress.step, rank=self.ranks.rank)
        self.optimizer.zero_grad(set_to_none=True)
        scaler, count = self.precision.scaler, len(batch[0])
        parts = memory.parts(count, progress.micro_batch, ranks=self.ranks.count)
        shares = self._shares(batch[2], parts)
        mine = slice(self.ranks.rank, None, self.ranks.count)
        total = torch.zeros((), device=batch[0].device)
        for part, share in zip(parts[mine], shares[mine], strict=True):
            if part.start == part.stop:
                # Too few slices for all processes. One that counts nothing: all do as many passes, whose statistics
                # may be shared, and have gradients of the same parameters.
                part = slice(count - 1, count)
            images, target, valid = (tensor[part] for tensor in batch)
            with self.precision.autocast():
                loss = self.minimized(self.forward, images, target, valid, epoch=epoch, generator=generator) * share
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _held(self, total: torch.Tensor) -> list[torch.Tensor]:
        """What the processes add up: gradients, the loss, and the statistics of batch normalisation, as a mean."""
        statistics = [buffer for buffer in self.model.buffers() if buffer.is_floating_point()]
        for buffer in statistics:
            buffer /= self.ranks.count
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        return [*gradients, total, *statistics]

    def _found(self, total: torch.Tensor, clip: float | None) -> Gradients:
        self.precision.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self._parameters, clip, norm)
        # One transfer: each makes a GPU's queue run empty.
        loss_value, norm_value = torch.stack((total.float(), norm.float())).tolist()
        return Gradients(loss_value, norm_value)

    @staticmethod
    def _shares(valid: torch.Tensor, parts: list[slice]) -> list[float]:
        """How much each part counts: by its slices with labels, since the loss is the mean over these."""
        if len(parts) == 1:
            return [1.0]
        labelled = (valid.flatten(1) > 0).any(1).tolist()
        if not any(labelled):
            return [(part.stop - part.start) / len(labelled) for part in parts]
        return [sum(labelled[part]) / sum(labelled) for part in parts]
