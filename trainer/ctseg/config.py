"""The parameters of a training: one pydantic object per component. Read without torch, so that a wrong one costs no
start-up.

Whatever is wrong becomes `orkrun.InvalidParams` with the dotted name a sweep uses. Names of encoders are checked
where the libraries that know them are loaded (`ctseg.models`).
"""

from __future__ import annotations

import difflib
import math
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

import orkrun

ARCHITECTURES = (
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "PAN",
    "DeepLabV3",
    "DeepLabV3Plus",
    "UPerNet",
    "Segformer",
    "DPT",
)
"""The decoders of segmentation-models-pytorch, by their class names."""


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number is needed")
    return value


Int = Annotated[int, BeforeValidator(_number)]
Float = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]


class Component(BaseModel):
    """Frozen; an unknown name is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Model(Component):
    """The network."""

    architecture: Literal[ARCHITECTURES] = Field("Unet", description="The decoder.")  # type: ignore[valid-type]
    encoder: str = Field(
        "mobilenet_v2", description="An encoder of segmentation-models-pytorch, or any of timm's as tu-<name>."
    )
    weights: str | None = Field(
        None,
        description="File with weights of the encoder or the whole model (.safetensors, or a state dict of torch). "
        "None: from scratch. Nothing is ever downloaded.",
    )


class LossTerm(Component):
    """One term of a combination."""

    name: Literal["dice", "cross_entropy", "focal"]
    weight: Float = Field(1.0, gt=0)


LOSSES: dict[str, tuple[LossTerm, ...]] = {
    "dice": (LossTerm(name="dice"),),
    "cross_entropy": (LossTerm(name="cross_entropy"),),
    "focal": (LossTerm(name="focal"),),
    "dice_ce": (LossTerm(name="dice"), LossTerm(name="cross_entropy")),
    "dice_focal": (LossTerm(name="dice"), LossTerm(name="focal")),
}


class Loss(Component):
    """What is minimized: a name, or a weighted combination of the three basic ones."""

    name: Literal["dice", "cross_entropy", "focal", "dice_ce", "dice_focal"] = "dice_ce"
    combination: tuple[LossTerm, ...] = Field((), description="Own terms and weights, instead of a name.")
    gamma: Float = Field(2.0, ge=0, le=10, description="Focal: how much easy pixels count less; 0 is cross-entropy.")
    alpha: Float | None = Field(None, gt=0, lt=1, description="Focal: weight of the lesion against the background.")
    positive_weight: Float = Field(1.0, gt=0, description="Cross-entropy: weight of a lesion pixel.")
    smooth: Float = Field(1.0, gt=0, description="Dice: pixels added to both sides of the fraction.")

    @model_validator(mode="after")
    def _name_or_combination(self) -> Loss:
        if self.combination and "name" in self.model_fields_set:
            raise ValueError("give a name or a combination, not both")
        return self

    def terms(self) -> tuple[LossTerm, ...]:
        """The weighted sum that is minimized."""
        return self.combination or LOSSES[self.name]


class Schedule(Component):
    """The learning rate over the run, as a factor of `optimizer.lr`."""

    name: Literal["constant", "cosine", "poly", "step"] = "cosine"
    warmup_epochs: Float = Field(1.0, ge=0, description="Linear from 0 to lr over these epochs.")
    power: Float = Field(0.9, gt=0, description="poly: (1 - progress) ** power.")
    step_epochs: Int = Field(10, ge=1, description="step: epochs between two reductions.")
    step_factor: Float = Field(0.1, gt=0, le=1, description="step: factor of each reduction.")
    final: Float = Field(0.0, ge=0, le=1, description="cosine and poly: the factor at the end.")


class Optimizer(Component):
    """How it is minimized."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: Float = Field(2e-3, gt=0, le=10)
    weight_decay: Float = Field(1e-2, ge=0)
    momentum: Float = Field(0.9, ge=0, lt=1, description="sgd only (Nesterov); adamw uses betas 0.9 and 0.999.")
    clip_norm: Float | None = Field(None, gt=0, description="Gradients above this norm are scaled down to it.")
    schedule: Schedule = Schedule()


class Augmentation(Component):
    """What is varied between epochs; all of it also applies to the mask, except intensity."""

    flip: bool = Field(True, description="Mirrored at either axis, each with probability 1/2.")
    rotate: Float = Field(15.0, ge=0, le=180, description="Largest angle in degrees, uniform in both directions.")
    scale: Float = Field(0.1, ge=0, lt=1, description="Largest relative change of size.")
    intensity: Float = Field(0.1, ge=0, le=1, description="Largest relative change of contrast and of brightness.")


class Phantom(Component):
    """The generated patients, where there is no folder to read."""

    patients: Int = Field(10, ge=2, le=10_000)
    slices: Int = Field(8, ge=1, le=1_000, description="Per patient.")
    size: Int = Field(160, ge=32, le=1024, description="Pixels of a side.")
    seed: Int = Field(0, ge=0)


class Data(Component):
    """What is learnt from."""

    kind: Literal["auto", "phantom", "covid-semiseg"] = Field(
        "auto", description="auto: by what lies in the folder; without a folder the embedded phantom."
    )
    root: str | None = Field(None, description="The folder. Default: the experiment's first data mount.")
    subset: Literal["doctor", "pseudo"] = Field("doctor", description="covid-semiseg: whose masks.")
    image_size: Int = Field(160, ge=32, le=2048, multiple_of=32, description="Slices are resized to this square.")
    window: tuple[Float, Float] = Field((-1250.0, 250.0), description="HU that become black and white (HU data only).")
    val_fraction: Float = Field(
        0.2, gt=0, lt=1, description="Of the patients; of the slices where patients are unknown."
    )
    split_seed: Int = Field(0, ge=0)
    phantom: Phantom = Phantom()

    @model_validator(mode="after")
    def _window_in_order(self) -> Data:
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window: the lower end {self.window[0]} must be below the upper end {self.window[1]}")
        return self


class Checkpoint(Component):
    """How much work a killed process can lose. At SIGTERM one is saved anyway."""

    every_epochs: Int = Field(1, ge=1)


class Params(Component):
    """All parameters of `ctseg train`."""

    model: Model = Model()
    loss: Loss = Loss()
    optimizer: Optimizer = Optimizer()
    batch_size: Int = Field(8, ge=1, le=4096)
    epochs: Int = Field(30, ge=1, le=100_000)
    augmentation: Augmentation = Augmentation()
    data: Data = Data()
    checkpoint: Checkpoint = Checkpoint()
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU where there is one.")
    deterministic: bool = Field(True, description="The same seed gives the same run, at some cost on a GPU.")
    threads: Int = Field(0, ge=0, le=1024, description="CPU threads of torch. 0: as many as the container has CPUs.")
    workers: Int = Field(2, ge=1, le=256, description="Threads that read and decode files at the start.")


def parse(raw: Mapping[str, Any]) -> Params:
    """The parameters. Raises orkrun.InvalidParams: the dotted name, what is wrong and what would be right."""
    try:
        return Params.model_validate(dict(raw))
    except ValidationError as error:
        problems = [_explain(item["type"], item["loc"], item["msg"], item["input"]) for item in error.errors()]
    param, message = problems[0]
    rest = "".join(f"; {name}: {text}" for name, text in problems[1:])
    raise orkrun.InvalidParams(param, message + rest)


def _explain(kind: str, loc: Sequence[str | int], message: str, given: Any) -> tuple[str, str]:
    name = ".".join(str(part) for part in loc) or "params"
    if kind == "extra_forbidden":
        right = _fields(loc[:-1])
        full = {".".join((*map(str, loc[:-1]), field)) for field in right}
        near = difflib.get_close_matches(str(loc[-1]), right, n=3) or [
            known for known in _all_names() if known.rsplit(".", 1)[-1] == str(loc[-1])
        ]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        return name, f"there is no such parameter; {hint}There are: {', '.join(sorted(full))}"
    if kind == "literal_error" and isinstance(given, str):
        allowed = _choices(loc)
        near = _near(given, allowed)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        return name, f"{given!r} is unknown; {hint}There are: {', '.join(allowed)}"
    return name, f"{given!r} is not valid: {message.removeprefix('Value error, ')}"


def _near(given: str, allowed: Sequence[str]) -> list[str]:
    by_lower = {item.lower(): item for item in allowed}
    return [by_lower[item] for item in difflib.get_close_matches(given.lower(), list(by_lower), n=3)]


def _annotation_at(loc: Sequence[str | int]) -> Any:
    current: Any = Params
    for part in loc:
        if isinstance(part, int):
            current = get_args(current)[0] if get_args(current) else Any
        elif isinstance(current, type) and issubclass(current, Component) and part in current.model_fields:
            current = current.model_fields[part].annotation
        else:
            return None
    return current


def _fields(loc: Sequence[str | int]) -> list[str]:
    current = _annotation_at(loc)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, Component) else []


def _choices(loc: Sequence[str | int]) -> list[str]:
    current = _annotation_at(loc)
    if get_origin(current) in (Union, types.UnionType):
        current = next((arm for arm in get_args(current) if get_origin(arm) is Literal), current)
    return [str(item) for item in get_args(current)]


def _all_names(model: type[Component] = Params, prefix: str = "") -> list[str]:
    names: list[str] = []
    for field, info in model.model_fields.items():
        names.append(prefix + field)
        if isinstance(info.annotation, type) and issubclass(info.annotation, Component):
            names += _all_names(info.annotation, f"{prefix}{field}.")
    return names


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
