"""The parameters of a training: one pydantic object per component, one module for each.
Read without torch, so that a wrong one costs no start-up.

Whatever is wrong becomes `orkrun.InvalidParams` with the dotted name a sweep uses. Names of encoders are checked
where the libraries that know them are loaded (`ctseg.models`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator

import orkrun
from ctseg.config.augmentation import Augmentation
from ctseg.config.base import Component, Float, Int
from ctseg.config.data import Data, Phantom, Split, Windows
from ctseg.config.explain import explain
from ctseg.config.loss import LOSSES, Loss, LossTerm
from ctseg.config.model import ARCHITECTURES, Model
from ctseg.config.optimizer import Optimizer, Schedule
from ctseg.config.presets import PRESETS, Preset
from ctseg.config.robust import Selection, Teacher
from ctseg.config.training import Checkpoint, EarlyStopping, Ema
from ctseg.config.weak import Consistency, Points

__all__ = [
    "ARCHITECTURES",
    "LOSSES",
    "PRESETS",
    "Augmentation",
    "Checkpoint",
    "Component",
    "Consistency",
    "Data",
    "EarlyStopping",
    "Ema",
    "Float",
    "Int",
    "Loss",
    "LossTerm",
    "Model",
    "Optimizer",
    "Params",
    "Phantom",
    "Points",
    "Preset",
    "Schedule",
    "Selection",
    "Split",
    "Teacher",
    "Windows",
    "completed",
    "parse",
    "set_dotted",
]


class Params(Component):
    """All parameters of `ctseg train`."""

    model: Model = Model()
    loss: Loss = Loss()
    consistency: Consistency = Consistency()
    teacher: Teacher = Teacher()
    selection: Selection = Selection()
    optimizer: Optimizer = Optimizer()
    batch_size: Int = Field(8, ge=1, le=4096, description="Slices of one step of the optimizer.")
    micro_batch_size: Int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Slices of one pass through the network; a batch is several of them. Null: the whole batch, "
        "less where the device has no memory for it.",
    )
    epochs: Int = Field(30, ge=1, le=100_000)
    augmentation: Augmentation = Augmentation()
    data: Data = Data()
    ema: Ema = Ema()
    early_stopping: EarlyStopping = EarlyStopping()
    checkpoint: Checkpoint = Checkpoint()
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: fp32 on the CPU; on a GPU bf16 where it has it, else fp16."
    )
    channels_last: bool | None = Field(None, description="Pixels before channels in memory. Null: on a GPU only.")
    compile: bool = Field(False, description="torch.compile; where that fails the training goes on without.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU where there is one.")
    devices: Literal["auto"] | Annotated[Int, Field(ge=1, le=64)] = Field(
        "auto",
        description="GPUs of this machine that share each batch, one process for each. auto: all that are visible. "
        "With device cpu that many processes on the CPU, for trying out.",
    )
    sync_batch_norm: bool = Field(
        False, description="Several GPUs: batch normalisation over the slices of all of them, not of each."
    )
    deterministic: bool = Field(True, description="The same seed gives the same run, at some cost on a GPU.")
    threads: Int = Field(0, ge=0, le=1024, description="CPU threads of torch. 0: as many as the container has CPUs.")
    workers: Int = Field(2, ge=1, le=256, description="Threads that read and decode files at the start.")

    @field_validator("selection", mode="after")
    @classmethod
    def _slices_have_losses(cls, value: Selection, info: ValidationInfo) -> Selection:
        loss = info.data.get("loss")
        if loss is not None and value.keep < 1 and value.by == "slice" and not loss.per_slice:
            raise ValueError("mcc over the batch has no loss of each slice: loss.over slice, or by pixel")
        return value


def parse(raw: Mapping[str, Any]) -> Params:
    """The parameters. Raises orkrun.InvalidParams: the dotted name, what is wrong and what would be right."""
    try:
        return Params.model_validate(dict(raw))
    except ValidationError as error:
        problems = [
            explain(Params, kind=item["type"], loc=item["loc"], message=item["msg"], given=item["input"])
            for item in error.errors()
        ]
    param, message = problems[0]
    rest = "".join(f"; {name}: {text}" for name, text in problems[1:])
    raise orkrun.InvalidParams(param, message + rest)


def completed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a former run with the defaults of those that there were not at the time. As they are where they do
    not fit the present ones any more.
    """
    try:
        return Params.model_validate(dict(raw)).model_dump(mode="json")
    except ValidationError:
        return dict(raw)


def set_dotted(params: dict[str, Any], assignment: str, value: Any) -> None:
    """Sets `a.b.c` in nested params, as `--set` does. Raises orkrun.InvalidParams where `a.b` is no mapping."""
    *parents, last = assignment.split(".")
    current = params
    for depth, part in enumerate(parents):
        inner = current.setdefault(part, {})
        if not isinstance(inner, dict):
            raise orkrun.InvalidParams(
                assignment, f"{'.'.join(parents[: depth + 1])} is {inner!r}, it has no parts to set"
            )
        current = inner
    current[last] = value
