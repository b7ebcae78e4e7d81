"""The training: parts are built once, then one loop of steps and evaluations that can be left and entered anywhere."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from typing import Any

import torch

import orkrun
from ctseg import augment, batches, checkpoint, device, evaluate, launch, models, ranks, schedule
from ctseg.config import Params, completed
from ctseg.data import split as splits
from ctseg.data.samples import Samples
from ctseg.launch import Place
from ctseg.objective import Objective
from ctseg.ranks import ALONE, Ranks
from ctseg.training import at_end, compiling, ema, memory, norm, optimizer, plateau, slices, stopping
from ctseg.training.display import Display
from ctseg.training.precision import Precision
from ctseg.training.state import Progress
from ctseg.training.step import Batch, Gradients, Stepper
from orkrun.contract import is_minimized

DEFAULT_OBJECTIVE: orkrun.Objective = {"metric": "val/dice_case", "direction": "Maximize"}
SUMMARY = "training.json"
DIVERGED = "diverged.pt"


class Training:
    """The parts of one training and what it does with them. `run()` is the loop."""

    def __init__(self, run: orkrun.Run, params: Params, samples: Samples, *, ranks: Ranks = ALONE) -> None:
        """Splits the data, builds the network, goes on from the checkpoint if there is one. Raises orkrun's errors."""
        self.run_ = run
        self.params = params
        self.ranks = ranks
        self.display = Display()
        self.device = device.set_up(params, Place(ranks.rank, ranks.count))
        self.pictures = samples.pictures
        split = splits.make(samples, params.data.split)
        if ranks.first:
            splits.keep(run.output / "split.json", samples, split, params.data.split)
        self.held_out = samples, split.val
        self.names = tuple(samples.names[i] for i in split.train)
        self.train_set = slices.learnt(samples, split.train, params.data, self.device)
        self.val_set = slices.judged(samples, split.val, params.data, self.device)
        unit = f"{split.by}{' (WARNING: leaky, ' + split.leaky + ')' if split.leaky else ''}"
        own, share = len(split.train) - split.extra, params.data.extra_share
        self.extra, self.drawn = split.extra, batches.extra_per_epoch(own, split.extra, share=share)
        more = f" and {self.drawn} of {split.extra} that judge nothing each epoch" if split.extra else ""
        self.say(f"{samples.source}: {own} slices to learn from{more}, {len(split.val)} held out, by {unit}")
        batches.seed_start(seed=run.seed)
        network = models.build(params.model, image_size=params.data.image_size, channels=samples.channels)
        if params.sync_batch_norm and ranks.count > 1:
            norm.synchronise(network, self.device)
        self.format = device.memory_format(params, self.device)
        self.model = network.to(self.device, memory_format=self.format)  # type: ignore[call-overload]
        self.optimizer = optimizer.build(self.model, params.optimizer)
        self.minimized = Objective(params, self.model)
        self.ema = ema.build(self.model, params.ema)
        self.precision = Precision(params, self.device)
        forward = compiling.compiled(self.model, self.say) if params.compile else self.model
        self.stepper = Stepper(self.model, forward, self.minimized, self.precision, self.optimizer, ranks=ranks)
        self.steps_per_epoch = batches.steps_per_epoch(own + self.drawn, params.batch_size)
        self.curve = schedule.build(
            params.optimizer.schedule, steps_per_epoch=self.steps_per_epoch, epochs=params.epochs
        )
        self.progress = Progress(micro_batch=min(params.micro_batch_size or params.batch_size, params.batch_size))
        self.order: tuple[int, list[int]] = (-1, [])
        self.objective = run.objective or DEFAULT_OBJECTIVE
        count = models.parameter_count(self.model) / 1e6
        self.say(
            f"{params.model.architecture}/{params.model.encoder}, {count:.1f} M parameters, {self.device}, "
            f"{self.precision.name}" + (f", {ranks.count} processes" if ranks.count > 1 else "")
        )
        self._resume()

    def say(self, text: str) -> None:
        self._line(f"ctseg: {text}")

    def _line(self, text: str) -> None:
        if self.ranks.first:
            self.display.line(text)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Trains to the end, or raises orkrun.Interrupted (a checkpoint is saved) or orkrun.Diverged."""
        progress, epochs = self.progress, self.params.epochs
        while progress.epochs < epochs and not progress.stopped:
            started = time.monotonic()
            if progress.step < (progress.epochs + 1) * self.steps_per_epoch:
                self.train_step()
                progress.seconds += time.monotonic() - started
                self._show()
                self.stop_if_interrupted()
                continue
            held_out = self.evaluate()
            progress.seconds += time.monotonic() - started
            self.finish_epoch(held_out)
        if progress.stopped:
            self.run_.note(progress.stopped)
        if not self.ranks.first:
            return
        samples, rows = self.held_out
        at_end.report(self.run_, samples.take(rows), model=self.model, batch_size=progress.micro_batch, say=self.say)

    def train_step(self) -> None:
        """One batch, one step of the optimizer."""
        progress, params = self.progress, self.params
        rate = params.optimizer.lr * self.curve(progress.step) * progress.rate_factor
        optimizer.set_rate(self.optimizer, rate)
        index = self._batch()
        batch, generator = self._augmented(index)
        found = self.stepper.gradients(
            batch,
            progress=progress,
            seed=self.run_.seed,
            epoch=progress.step / self.steps_per_epoch,
            generator=generator,
            clip_norm=params.optimizer.clip_norm,
            say=self.say,
        )
        scaler = self.precision.scaler
        # With a scaler, gradients that are too large are how it finds its scale: it leaves the step out.
        if not found.finite and not (scaler.is_enabled() and math.isfinite(found.loss) and scaler.get_scale() > 1):
            raise self._diverged(found, index, rate)
        scaler.step(self.optimizer)
        scaler.update()
        self.minimized.stepped(self.model, value=found.loss, step=progress.step)
        progress.step += 1
        if self.ema is not None:
            self.ema.update(self.model, steps=progress.step)
        progress.loss_sum += found.loss * len(index)
        progress.loss_count += len(index)

    def _batch(self) -> list[int]:
        epoch, position = divmod(self.progress.step, self.steps_per_epoch)
        if self.order[0] != epoch:
            own = len(self.train_set) - self.extra
            order = batches.order(own, seed=self.run_.seed, epoch=epoch, extra=self.extra, drawn=self.drawn)
            self.order = (epoch, order)
        size = self.params.batch_size
        return self.order[1][position * size : (position + 1) * size]

    def _augmented(self, index: list[int]) -> tuple[Batch, torch.Generator]:
        seed, step = self.run_.seed, self.progress.step
        generator = batches.generator(seed=seed, step=step)
        taken = self.train_set.take(index, rng=batches.annotator_generator(seed=seed, step=step))
        images, target, valid = augment.augment(*taken, config=self.params.augmentation, generator=generator)
        return (images.contiguous(memory_format=self.format), target, valid), generator

    def _diverged(self, found: Gradients, index: list[int], rate: float) -> orkrun.Diverged:
        """With the slices of the batch and the parameters as they were before it, saved to be looked at."""
        progress, names = self.progress, [self.names[i] for i in index]
        what = f"the loss is {found.loss}" if not math.isfinite(found.loss) else f"the gradient's norm is {found.norm}"
        path = self.run_.output / DIVERGED
        if not self.ranks.first:
            return orkrun.Diverged(f"{what} at step {progress.step}")
        content = {
            "params": self.params.model_dump(mode="json"),
            "step": progress.step,
            "epoch": progress.epochs + 1,
            "slices": names,
            "loss": found.loss,
            "gradient_norm": found.norm,
            "lr": rate,
            "model": self.model.state_dict(),
        }
        try:
            checkpoint.save(path, content)
            saved = f"the parameters before it and the names of its {len(names)} slices are in {path}"
        except OSError as error:  # the disk being full must not hide what happened
            saved = f"{path} cannot be written ({error.strerror})"
        shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        smaller = "precision: bf16 or fp32, " if self.precision.name == "fp16" else ""
        return orkrun.Diverged(
            f"{what} at step {progress.step} (epoch {progress.epochs + 1}, lr {rate:.3g}): {smaller}"
            "a smaller optimizer.lr, a longer warm-up or optimizer.clip_norm help most often; "
            f"slices {shown}; {saved}"
        )

    # --- after an epoch -----------------------------------------------------------------------------------------------

    def evaluate(self) -> dict[str, float]:
        """`val/...` of the weights that are judged: the mean ones where there are any, and then `val_raw/...` of the
        network in training, only what the objective asks for or the Dice per case: a status holds 32 metrics.
        """
        if self.ema is None:
            return self._evaluated(self.model, "val/")
        values = self._evaluated(self.ema.model, "val/")
        raw = self._evaluated(self.model, "val_raw/")
        wanted = self.objective["metric"].rpartition("/")[2]
        names = [name for name in (f"val_raw/{wanted}", "val_raw/dice_case") if name in raw]
        return values | {name: raw[name] for name in names[:1]}

    def _evaluated(self, model: torch.nn.Module, prefix: str) -> dict[str, float]:
        progress = self.progress
        while True:
            try:
                with self.precision.autocast():
                    held_out = evaluate.evaluate(
                        model,
                        self.val_set,
                        self.minimized.loss,
                        batch_size=progress.micro_batch,
                        between=self.stop_if_interrupted,
                        ranks=self.ranks,
                    )
                return {prefix + name: value for name, value in held_out.items()}
            except torch.OutOfMemoryError as error:
                if progress.micro_batch <= 1:
                    raise
                told = str(error).splitlines()[0]
            memory.free()
            progress.micro_batch //= 2
            progress.out_of_memory += 1
            self.say(
                f"WARNING: no memory left on the device, goes on with {progress.micro_batch} slices at once: {told}"
            )

    def finish_epoch(self, values: dict[str, float]) -> None:
        """Reports the epoch, keeps the best model, decides whether to stop, saves a checkpoint when one is due."""
        progress, epochs, metric = self.progress, self.params.epochs, self.objective["metric"]
        progress.epochs += 1
        values["train/loss"] = progress.loss_sum / progress.loss_count
        values["lr"] = optimizer.rate(self.optimizer)
        values["epoch_seconds"] = progress.seconds
        if progress.out_of_memory:
            values["micro_batch_size"] = progress.micro_batch
        progress.loss_sum, progress.loss_count, progress.seconds = 0.0, 0, 0.0
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        self.run_.report(progress.epochs, values, total_steps=epochs)
        shown = ("train/loss", "val/loss", "val/dice", "val/dice_case", "val_raw/dice_case")
        self._line(
            f"epoch {progress.epochs}/{epochs}: "
            + " ".join(f"{name} {values[name]:.4f}" for name in shown if name in values)
            + f" {values['epoch_seconds']:.1f} s"
        )
        if bad:
            raise orkrun.Diverged(f"{', '.join(bad)} not finite after epoch {progress.epochs}")
        value, minimize = values.get(metric), is_minimized(metric, self.objective)
        if value is not None and stopping.better(value, progress.best, minimize=minimize):
            progress.best, progress.best_epoch = value, progress.epochs
            self._keep_best(value)
        if plateau.watch(self.params.optimizer.schedule, progress, value, minimize=minimize):
            self.say(f"{metric} gets no better: the learning rate is {progress.rate_factor:.3g} of the schedule's")
        reason = stopping.watch(self.params.early_stopping, progress, value, minimize=minimize, metric=metric)
        if reason and progress.epochs < epochs:
            progress.stopped = reason
            self.say(reason)
        ends = bool(progress.stopped) or progress.epochs == epochs
        if ends or progress.epochs % self.params.checkpoint.every_epochs == 0:
            self.save()
        self._keep_summary()

    def _keep_best(self, value: float) -> None:
        if not self.ranks.first:
            return
        raw = self.ema is None or self.objective["metric"].startswith("val_raw/")
        model = self.model if raw or self.ema is None else self.ema.model
        content = {
            "params": self.params.model_dump(mode="json"),
            "epoch": self.progress.epochs,
            "value": value,
            "weights": "raw" if raw else "ema",
            "pictures": self.pictures,
            "model": model.state_dict(),
        }
        checkpoint.save(self.run_.output / checkpoint.BEST, content)

    def _keep_summary(self) -> None:
        """What happened on the way and is no metric, for people and for the record of the run."""
        if not self.ranks.first:
            return
        progress = self.progress
        content = {
            "epochs": progress.epochs,
            "steps": progress.step,
            "best": progress.best,
            "best_epoch": progress.best_epoch,
            "objective": self.objective["metric"],
            "stopped_early": progress.stopped or None,
            "precision": self.precision.name,
            "device": str(self.device),
            "processes": self.ranks.count,
            "batch_size": self.params.batch_size,
            "micro_batch_size": progress.micro_batch,
            "out_of_memory": progress.out_of_memory,
        }
        orkrun.write_atomic(self.run_.output / SUMMARY, json.dumps(content, indent=1).encode(), durable=False)

    def _show(self) -> None:
        if not self.ranks.first:
            return
        progress = self.progress
        self.display.step(
            progress.step - progress.epochs * self.steps_per_epoch,
            self.steps_per_epoch,
            epoch=progress.epochs + 1,
            loss=progress.loss_sum / progress.loss_count,
            rate=progress.loss_count / max(progress.seconds, 1e-9),
        )

    # --- leaving and entering -----------------------------------------------------------------------------------------

    def stop_if_interrupted(self) -> None:
        """Saves and raises orkrun.Interrupted once SIGTERM was seen, by any process."""
        if any(self.ranks.agree(self.run_.interrupted)):
            self.save()
            raise orkrun.Interrupted(f"interrupted at step {self.progress.step}, checkpoint saved")

    def save(self) -> None:
        """The first process saves, the others wait until it is done."""
        if self.ranks.first:
            self._save()
        self.ranks.agree(False)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "params": self.params.model_dump(mode="json"),
            "seed": self.run_.seed,
            "slices": list(self.names),
            "progress": asdict(self.progress),
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.precision.scaler.state_dict(),
            "minimized": self.minimized.state_dict(),
            "report": self.run_.state_dict(),
        }
        path = checkpoint.save_latest(self.run_.output, state, keep=self.params.checkpoint.keep_last)
        self.run_.checkpointed(self.progress.epochs, path)

    def _resume(self) -> None:
        found = checkpoint.load_latest(self.run_.output, warn=self.say)
        if found is None:
            return
        path, state = found
        own = {"seed": self.run_.seed, **self.params.model_dump(mode="json")}
        checkpoint.check_same(path, {"seed": state["seed"], **completed(state["params"])}, own)
        if state["slices"] != list(self.names):
            raise orkrun.DataError(
                path,
                f"learnt from {len(state['slices'])} slices, now there are {len(self.names)} or others of these: "
                "give it back its data, or use another output folder",
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        if self.precision.scaler.is_enabled() and state["scaler"]:
            self.precision.scaler.load_state_dict(state["scaler"])
        self.minimized.load_state_dict(state["minimized"])
        chosen, self.progress = self.progress.micro_batch, Progress(**state["progress"])
        if not self.progress.out_of_memory:
            self.progress.micro_batch = chosen
        self.run_.load_state_dict(state["report"])
        self.run_.checkpointed(self.progress.epochs, path)
        self.say(f"goes on from {path}: epoch {self.progress.epochs}, step {self.progress.step}")


def train(run: orkrun.Run, params: Params, samples: Samples) -> None:
    """The whole training of one run, or of one process of several."""
    with ranks.join(device.set_up(params, launch.place())) as joined:
        Training(run, params, samples, ranks=joined).run()
