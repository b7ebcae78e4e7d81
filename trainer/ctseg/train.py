"""The training: parts are built once, then one loop of steps and evaluations that can be left and entered anywhere."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

import orkrun
from ctseg import augment, batches, checkpoint, device, evaluate, models, schedule, weak
from ctseg.config import Optimizer, Params
from ctseg.data import split as splits
from ctseg.data.samples import Samples
from ctseg.labels import join
from ctseg.objective import Objective
from orkrun.contract import is_minimized

DEFAULT_OBJECTIVE: orkrun.Objective = {"metric": "val/dice_case", "direction": "Maximize"}


@dataclass(slots=True)
class Progress:
    """Where the training is. With the model's and the optimizer's state all that a resume needs."""

    step: int = 0
    """Optimizer steps done."""
    epochs: int = 0
    """Epochs done, their evaluation included."""
    loss_sum: float = 0.0
    """Of this epoch so far, over slices."""
    loss_count: int = 0
    seconds: float = 0.0
    """Of this epoch so far."""
    best: float | None = None
    best_epoch: int = 0


def build_optimizer(model: torch.nn.Module, config: Optimizer) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum. Biases and the scales of normalisations are not decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)


class Training:
    """The parts of one training and what it does with them. `run()` is the loop."""

    def __init__(self, run: orkrun.Run, params: Params, samples: Samples) -> None:
        """Splits the data, builds the network, goes on from the checkpoint if there is one. Raises orkrun's errors."""
        self.run_ = run
        self.params = params
        self.device = device.set_up(params)
        split = splits.make(samples, params.data.split)
        splits.keep(run.output / "split.json", samples, split, params.data.split)
        rule = params.data.annotators.rule
        learnt = weak.to_learn(join.to_learn(samples.take(split.train), rule), params.data.points)
        self.train_set = batches.Batches(learnt, self.device)
        self.val_set = batches.Batches(join.to_judge(samples.take(split.val), rule), self.device)
        unit = f"{split.by}{' (WARNING: leaky, ' + split.leaky + ')' if split.leaky else ''}"
        print(
            f"ctseg: {samples.source}: {len(split.train)} slices to learn from, {len(split.val)} held out, by {unit}",
            flush=True,
        )
        batches.seed_start(seed=run.seed)
        network = models.build(params.model, image_size=params.data.image_size, channels=samples.channels)
        self.model = network.to(self.device)
        self.optimizer = build_optimizer(self.model, params.optimizer)
        self.minimized = Objective(params, self.model)
        self.steps_per_epoch = batches.steps_per_epoch(len(self.train_set), params.batch_size)
        self.progress = Progress()
        self.order: tuple[int, list[int]] = (-1, [])
        self.objective = run.objective or DEFAULT_OBJECTIVE
        count = models.parameter_count(self.model) / 1e6
        print(
            f"ctseg: {params.model.architecture}/{params.model.encoder}, {count:.1f} M parameters, {self.device}",
            flush=True,
        )
        self._resume()

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Trains to the end, or raises orkrun.Interrupted (a checkpoint is saved) or orkrun.Diverged."""
        progress, epochs = self.progress, self.params.epochs
        while progress.epochs < epochs:
            started = time.monotonic()
            if progress.step < (progress.epochs + 1) * self.steps_per_epoch:
                self.train_step()
                progress.seconds += time.monotonic() - started
                self.stop_if_interrupted()
                continue
            held_out = evaluate.evaluate(
                self.model,
                self.val_set,
                self.minimized.loss,
                batch_size=self.params.batch_size,
                between=self.stop_if_interrupted,
            )
            progress.seconds += time.monotonic() - started
            self.finish_epoch(held_out)

    def train_step(self) -> None:
        """One batch, one step of the optimizer."""
        progress, params, seed = self.progress, self.params, self.run_.seed
        rate = params.optimizer.lr * schedule.factor(
            params.optimizer.schedule, step=progress.step, steps_per_epoch=self.steps_per_epoch, epochs=params.epochs
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        generator = batches.generator(seed=seed, step=progress.step)
        drawn = batches.annotator_generator(seed=seed, step=progress.step)
        batch = self.train_set.take(self._batch(), rng=drawn)
        given = augment.augment(*batch, config=params.augmentation, generator=generator)
        count = len(given[0])
        batches.seed_step(seed=seed, step=progress.step)
        try:
            epoch = progress.step / self.steps_per_epoch
            loss = self.minimized(self.model, *given, epoch=epoch, generator=generator)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise orkrun.InvalidParams(
                "batch_size",
                f"{count} is too small: {params.model.architecture} normalises over a batch of at least 2",
            ) from error
        value = float(loss.detach())
        if not math.isfinite(value):
            raise orkrun.Diverged(
                f"the loss is {value} at step {progress.step} (epoch {progress.epochs + 1}, lr {rate:.3g}): "
                "a smaller optimizer.lr, a longer warm-up or optimizer.clip_norm help most often"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if params.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), params.optimizer.clip_norm)
        self.optimizer.step()
        self.minimized.stepped(self.model, value=value, step=progress.step)
        progress.step += 1
        progress.loss_sum += value * count
        progress.loss_count += count

    def _batch(self) -> list[int]:
        epoch, position = divmod(self.progress.step, self.steps_per_epoch)
        if self.order[0] != epoch:
            self.order = (epoch, batches.order(len(self.train_set), seed=self.run_.seed, epoch=epoch))
        size = self.params.batch_size
        return self.order[1][position * size : (position + 1) * size]

    def finish_epoch(self, held_out: dict[str, float]) -> None:
        """Reports the epoch, keeps the best model, saves a checkpoint when one is due."""
        progress, epochs = self.progress, self.params.epochs
        progress.epochs += 1
        values = {f"val/{name}": value for name, value in held_out.items()}
        values["train/loss"] = progress.loss_sum / progress.loss_count
        values["lr"] = self.optimizer.param_groups[0]["lr"]
        values["epoch_seconds"] = progress.seconds
        progress.loss_sum, progress.loss_count, progress.seconds = 0.0, 0, 0.0
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        self.run_.report(progress.epochs, values, total_steps=epochs)
        print(
            f"epoch {progress.epochs}/{epochs}: "
            + " ".join(f"{name} {values[name]:.4f}" for name in ("train/loss", "val/loss", "val/dice", "val/dice_case"))
            + f" {values['epoch_seconds']:.1f} s",
            flush=True,
        )
        if bad:
            raise orkrun.Diverged(f"{', '.join(bad)} not finite after epoch {progress.epochs}")
        value = values.get(self.objective["metric"])
        if value is not None and self._better(value):
            progress.best, progress.best_epoch = value, progress.epochs
            best = {"params": self.params.model_dump(mode="json"), "epoch": progress.epochs, "value": value}
            checkpoint.save(self.run_.output / checkpoint.BEST, {**best, "model": self.model.state_dict()})
        if progress.epochs % self.params.checkpoint.every_epochs == 0 or progress.epochs == epochs:
            self.save()

    def _better(self, value: float) -> bool:
        best = self.progress.best
        if best is None:
            return True
        return value < best if is_minimized(self.objective["metric"], self.objective) else value > best

    # --- leaving and entering -----------------------------------------------------------------------------------------

    def stop_if_interrupted(self) -> None:
        """Saves and raises orkrun.Interrupted once SIGTERM was seen."""
        if self.run_.interrupted:
            self.save()
            raise orkrun.Interrupted(f"interrupted at step {self.progress.step}, checkpoint saved")

    def save(self) -> None:
        path = self.run_.output / checkpoint.LATEST
        state: dict[str, Any] = {
            "params": self.params.model_dump(mode="json"),
            "seed": self.run_.seed,
            "progress": asdict(self.progress),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "minimized": self.minimized.state_dict(),
            "report": self.run_.state_dict(),
        }
        checkpoint.save(path, state)
        self.run_.checkpointed(self.progress.epochs, path)

    def _resume(self) -> None:
        path = self.run_.output / checkpoint.LATEST
        state = checkpoint.load(path)
        if state is None:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.minimized.load_state_dict(state["minimized"])
        self.progress = Progress(**state["progress"])
        self.run_.load_state_dict(state["report"])
        self.run_.checkpointed(self.progress.epochs, path)
        print(f"ctseg: goes on from {path}: epoch {self.progress.epochs}, step {self.progress.step}", flush=True)


def train(run: orkrun.Run, params: Params, samples: Samples) -> None:
    """The whole training of one run."""
    Training(run, params, samples).run()
