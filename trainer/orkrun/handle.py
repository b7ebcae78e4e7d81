"""What a training sees of its run: reports, artifacts, checkpoints, and what of them goes into the final record.
Standard library only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orkrun import contract
from orkrun.artifacts import Manifest
from orkrun.contract import (
    ArtifactLine,
    Checkpoint,
    Config,
    DataMount,
    MetricLine,
    Objective,
    Outcome,
    TerminationRecord,
)
from orkrun.errors import Interrupted
from orkrun.reporter import Reporter
from orkrun.spool import Spool
from orkrun.summary import Summary
from orkrun.uploader import Uploader


class Run:
    """What a training sees of its run. Made by `orkrun.run()`."""

    def __init__(
        self, config: Config, spool: Spool | None, reporter: Reporter | None, uploader: Uploader | None = None
    ) -> None:
        """Without a spool and a reporter nothing is reported."""
        self.config = config
        self.params: dict[str, Any] = config["params"]
        self.data: list[DataMount] = config["data"]
        self.objective: Objective | None = config.get("objective")
        self.output = Path(config["output"])
        self.seed = config["seed"]
        self.attempt = config["attempt"]
        self.interrupted = False
        """SIGTERM was seen: save a checkpoint and `raise orkrun.Interrupted`."""
        self._summary = Summary(self.objective)
        self._spool = spool
        self._reporter = reporter
        self._uploader = uploader
        self._manifest = Manifest(self.output, self.attempt) if spool is not None else None
        self._waiting: list[MetricLine] = []
        self._checkpoint: Checkpoint | None = None
        self._note = ""

    def report(self, step: int, metrics: Mapping[str, Any], *, total_steps: int | None = None) -> None:
        """Reports the metrics of a step (any number a float can be made of). Never blocks on the network, never raises.

        A value that is no number is left out and said on stderr. NaN and the infinities are reported as they are.
        """
        numbers: dict[str, float] = {}
        for name, value in metrics.items():
            try:
                numbers[str(name)] = float(value)
            except Exception as error:  # noqa: BLE001 - a metric must not end a training
                print(f"orkrun: metric {name} at step {step} is no number and left out: {error}", file=sys.stderr)
        self._summary.add(step, numbers, total_steps=total_steps)
        if self._spool is None:
            return
        line: MetricLine = {
            "attempt": self.attempt,
            "seq": self._spool.seq + len(self._waiting) + 1,
            "step": step,
            "time": time.time(),
            "metrics": {name: contract.encode_number(value) for name, value in numbers.items()},
        }
        if self._summary.total_steps is not None:
            line["totalSteps"] = self._summary.total_steps
        self._waiting.append(line)
        self._write_waiting()

    def _write_waiting(self) -> None:
        assert self._spool is not None, "only called where there is something to report"
        assert self._reporter is not None, "comes with the spool"
        while self._waiting:
            try:
                self._spool.append(self._waiting[0])
            except ValueError as error:
                print(f"orkrun: {error}; the line is dropped", file=sys.stderr)
                self._waiting[0]["metrics"] = {}
                continue
            except OSError as error:
                print(f"orkrun: metrics cannot be spooled: {error}; tried again with the next report", file=sys.stderr)
                return
            self._spool.seq = self._waiting.pop(0)["seq"]
        self._reporter.notify()

    def image(
        self,
        name: str,
        image: bytes | str | os.PathLike[str],
        *,
        step: int | None = None,
        caption: str = "",
        group: str = "",
        role: str = "",
    ) -> bool:
        """Reports a PNG, JPEG, GIF or WebP, as bytes or as a file. Never blocks on the network, never raises: what is
        wrong is said on stderr. `group` names what belongs together (a case and slice), `role` what of it this is:
        image, mask or prediction. False: it was not taken.
        """
        return self._report_artifact(
            name, lambda to: to.image(name, image, step=step, caption=caption, group=group, role=role)
        )

    def volume(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        step: int | None = None,
        caption: str = "",
        group: str = "",
        role: str = "",
    ) -> bool:
        """Reports a volume (NIfTI), as `image` does. A file in the output folder stays where it is, another is copied
        there.
        """
        return self.artifact(path, kind="volume", name=name, step=step, caption=caption, group=group, role=role)

    def artifact(
        self,
        path: str | os.PathLike[str],
        *,
        kind: str = "file",
        name: str = "",
        step: int | None = None,
        caption: str = "",
        group: str = "",
        role: str = "",
    ) -> bool:
        """Reports any file, as `volume` does; named after itself unless `name` is given."""
        name = name or Path(path).name
        return self._report_artifact(
            name,
            lambda to: to.file(
                name,
                Path(path),
                kind=contract.ArtifactKind(kind),
                step=step,
                caption=caption,
                group=group,
                role=role,
            ),
        )

    def artifacts(self) -> list[ArtifactLine]:
        """What was reported so far, by earlier attempts too."""
        return self._manifest.lines() if self._manifest is not None else []

    def _report_artifact(self, name: str, add: Callable[[Manifest], ArtifactLine]) -> bool:
        if self._manifest is None:
            return False
        try:
            add(self._manifest)
        except Exception as error:  # noqa: BLE001 - a picture must not end a training
            print(f"orkrun: artifact {name!r} is left out: {error}", file=sys.stderr)
            return False
        if self._uploader is not None:
            self._uploader.notify()
        return True

    def checkpointed(self, step: int, path: Path) -> None:
        """Says that `path` holds everything needed to go on after `step`."""
        self._checkpoint = {"step": step, "path": str(path)}

    def note(self, text: str) -> None:
        """A sentence for the final record: why the run ends before its last step, say. The last one stays."""
        self._note = text[: contract.NOTE_LIMIT]

    def check_interrupted(self) -> None:
        """Raises Interrupted once SIGTERM was seen: for phases that have nothing to save."""
        if self.interrupted:
            raise Interrupted

    def state_dict(self) -> dict[str, Any]:
        """What to keep in a checkpoint, so that bests and steps go on from it. Plain numbers and strings."""
        return self._summary.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a checkpoint's `state_dict`."""
        self._summary.load_state_dict(state)

    def record(self, outcome: Outcome) -> TerminationRecord:
        """The final record as of now, not shortened."""
        result: TerminationRecord = {"version": contract.VERSION, "outcome": outcome.value}
        objective = self._summary.objective()
        if objective is not None:
            result["objective"] = objective
        if self._summary.metrics:
            result["metrics"] = self._summary.metrics
            result["step"] = self._summary.step
        if self._summary.total_steps is not None:
            result["totalSteps"] = self._summary.total_steps
        if self._checkpoint is not None:
            result["checkpoint"] = self._checkpoint
        if self._note:
            result["note"] = self._note
        return result
