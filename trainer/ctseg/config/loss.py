"""The loss's parameters: names, what each takes, and within which bounds. The formulas: `ctseg.losses`.

An option that the chosen loss does not have is refused, so that no search varies what changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from ctseg.config.base import Component, Float, Int

Over = Literal["batch", "slice"]

TERMS: dict[str, dict[str, Any]] = {
    "dice": {"smooth": 1.0, "over": "batch"},
    "jaccard": {"smooth": 1.0, "over": "batch"},
    "tversky": {"smooth": 1.0, "over": "batch", "false_positives": 0.3, "false_negatives": 0.7},
    "focal_tversky": {
        "smooth": 1.0,
        "over": "batch",
        "false_positives": 0.3,
        "false_negatives": 0.7,
        "gamma": 4 / 3,
    },
    "lovasz": {},
    "mcc": {"over": "batch"},
    "cross_entropy": {"positive_weight": 1.0, "label_smoothing": 0.0},
    "focal": {"gamma": 2.0, "alpha": None},
    "wbce_wiou": {"boundary_weight": 5.0, "boundary_window": 31},
    "gce": {"q": 0.7},
    "sce": {"forward": 0.1, "reverse": 1.0, "log_zero": -4.0},
    "nr_dice": {"gamma": 1.5, "over": "batch"},
    "mae": {},
    "bootstrap": {"beta": 0.95, "hard": False},
}
"""Each basic loss with its options and their defaults."""

LOSSES: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in TERMS},
    "dice_ce": ("dice", "cross_entropy"),
    "dice_focal": ("dice", "focal"),
    "jaccard_ce": ("jaccard", "cross_entropy"),
    "lovasz_ce": ("lovasz", "cross_entropy"),
    "nr_dice_ce": ("nr_dice", "cross_entropy"),
    "nr_dice_gce": ("nr_dice", "gce"),
}
"""What `loss.name` may be: a basic loss, or the sum of two."""

ALIASES: dict[str, str] = {
    "bce": "cross_entropy",
    "ce": "cross_entropy",
    "iou": "jaccard",
    "generalized_cross_entropy": "gce",
    "symmetric_cross_entropy": "sce",
    "noise_robust_dice": "nr_dice",
    "l1": "mae",
    "structure": "wbce_wiou",
    "dice_bce": "dice_ce",
}

_BOUNDS: dict[tuple[str, str], tuple[float, float]] = {
    ("focal", "gamma"): (0, 10),
    ("focal_tversky", "gamma"): (1, 3),
    ("nr_dice", "gamma"): (1, 2),
}
"""Where one option means something else from loss to loss: both ends allowed."""


def _canonical(value: Any) -> Any:
    return ALIASES.get(value, value) if isinstance(value, str) else value


def takers(option: str) -> tuple[str, ...]:
    """The basic losses that have this option."""
    return tuple(name for name, options in TERMS.items() if option in options)


class LossOptions(Component):
    """A name and the options of all losses. None: the default of that loss."""

    # First, because the options are checked against it.
    name: str
    gamma: Float | None = Field(
        None,
        ge=0,
        le=10,
        description="focal (default 2, 0..10): how much easy pixels count less, 0 is cross-entropy. focal_tversky "
        "(4/3, 1..3): the loss to the power 1/gamma. nr_dice (1.5, 1..2): 2 is Dice, towards 1 noise counts less.",
    )
    alpha: Float | None = Field(
        None, gt=0, lt=1, description="focal: weight of the lesion against the background. Null: both count 1."
    )
    positive_weight: Float | None = Field(
        None, gt=0, description="cross_entropy: weight of a lesion pixel (default 1)."
    )
    label_smoothing: Float | None = Field(
        None, ge=0, lt=1, description="cross_entropy: a target t becomes t (1 - s) + s / 2 (default 0)."
    )
    smooth: Float | None = Field(
        None, gt=0, description="dice, jaccard, tversky: pixels added to both sides of the fraction (default 1)."
    )
    over: Over | None = Field(
        None,
        description="dice, jaccard, tversky, nr_dice, mcc: one fraction over the batch (default; slices without a "
        "lesion add their false pixels to it) or one of each slice.",
    )
    false_positives: Float | None = Field(
        None, ge=0, le=10, description="tversky: weight of what is wrongly marked (default 0.3)."
    )
    false_negatives: Float | None = Field(
        None, ge=0, le=10, description="tversky: weight of what is missed (default 0.7); more gives more sensitivity."
    )
    q: Float | None = Field(
        None, gt=0, le=1, description="gce: towards 0 cross-entropy, 1 is mean absolute error (default 0.7)."
    )
    forward: Float | None = Field(None, ge=0, le=100, description="sce: weight of the cross-entropy (default 0.1).")
    reverse: Float | None = Field(
        None, ge=0, le=100, description="sce: weight of the reverse cross-entropy (default 1)."
    )
    log_zero: Float | None = Field(
        None, ge=-100, lt=0, description="sce: what log(0) of a label counts as (default -4)."
    )
    beta: Float | None = Field(
        None, ge=0, le=1, description="bootstrap: share of the label, the rest is the prediction (default 0.95)."
    )
    hard: bool | None = Field(
        None, description="bootstrap: the prediction as 0 or 1 rather than as a probability (default false)."
    )
    boundary_weight: Float | None = Field(
        None, ge=0, le=100, description="wbce_wiou: how much more a pixel at the border counts (default 5)."
    )
    boundary_window: Int | None = Field(
        None, ge=3, le=255, description="wbce_wiou: odd; pixels around one that say how near the border is (31)."
    )

    @field_validator("*", mode="after")
    @classmethod
    def _belongs(cls, value: Any, info: ValidationInfo) -> Any:
        option = info.field_name or ""
        # Only what was given comes here; where the name is wrong, that is the error to tell.
        if value is None or not takers(option) or "name" not in info.data:
            return value
        name = info.data["name"]
        terms = LOSSES[name]
        having = [term for term in terms if option in TERMS[term]]
        if not having:
            known = sorted({known for term in terms for known in TERMS[term]})
            has = f"{name} has {', '.join(known)}" if known else f"{name} has no options"
            raise ValueError(f"{name} has no such option ({has}); {option} is of {', '.join(takers(option))}")
        for term in having:
            bounds = _BOUNDS.get((term, option))
            if bounds and not bounds[0] <= value <= bounds[1]:
                raise ValueError(f"for {term} from {bounds[0]:g} to {bounds[1]:g}")
        if option == "boundary_window" and value % 2 == 0:
            raise ValueError("an odd number is needed, so that the window has a middle")
        return value

    @model_validator(mode="after")
    def _weights_not_all_zero(self) -> LossOptions:
        for first, second in (("false_positives", "false_negatives"), ("forward", "reverse")):
            if getattr(self, first) == 0 and getattr(self, second) == 0:
                raise ValueError(f"{first} and {second} are both 0: nothing is left to learn from")
        return self

    def options(self, term: str) -> dict[str, Any]:
        """All options of one of this loss's basic losses, defaults filled in."""
        given = {option: getattr(self, option) for option in TERMS[term]}
        return {key: TERMS[term][key] if value is None else value for key, value in given.items()}


class LossTerm(LossOptions):
    """One term of a combination, with options of its own."""

    name: Annotated[Literal[tuple(TERMS)], BeforeValidator(_canonical)]  # type: ignore[valid-type]
    weight: Float = Field(1.0, gt=0, le=1e6)


class Loss(LossOptions):
    """What is minimized: a name with its options, or a weighted combination of basic losses."""

    name: Annotated[Literal[tuple(LOSSES)], BeforeValidator(_canonical)] = "dice_ce"  # type: ignore[valid-type]
    combination: tuple[LossTerm, ...] = Field((), description="Own terms, weights and options, instead of a name.")

    @model_validator(mode="before")
    @classmethod
    def _name_or_combination(cls, raw: Any) -> Any:
        # Before the options are checked: they would be compared with the default name.
        if isinstance(raw, Mapping) and raw.get("combination"):
            beside = sorted(str(key) for key, value in raw.items() if key in cls.model_fields and value is not None)
            beside.remove("combination")
            if "name" in beside:
                raise ValueError("give a name or a combination, not both")
            if beside:
                raise ValueError(f"{', '.join(beside)}: with a combination, options belong to its terms")
        return raw

    @model_serializer(mode="wrap")
    def _readable_again(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = handler(self)
        if self.combination:
            content.pop("name", None)
        return content

    def terms(self) -> tuple[tuple[str, float, dict[str, Any]], ...]:
        """The weighted sum that is minimized: basic loss, weight, all its options."""
        if self.combination:
            return tuple((term.name, term.weight, term.options(term.name)) for term in self.combination)
        return tuple((term, 1.0, self.options(term)) for term in LOSSES[self.name])

    @property
    def per_slice(self) -> bool:
        """False where the loss has no value of its own for each slice (mcc over the batch)."""
        return not any(name == "mcc" and options["over"] == "batch" for name, _, options in self.terms())
