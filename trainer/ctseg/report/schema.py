"""What a report's result.json holds, as models: they are its documentation, and what is written passes through them.
No torch, no numpy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA: Literal[2] = 2
"""Changes with every change that a reader of result.json could trip over."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), use_attribute_docstrings=True)


class Figure(_Part):
    """One figure. What is not defined, or could not be measured, is null and never a number."""

    value: Number | None
    """Pooled: the ratio of all pixels. Per slice, per case: the mean of those for which it is defined."""
    interval: tuple[Number, Number] | None
    """Ends of the bootstrap interval over cases (`rules.interval`); null with fewer than two cases."""
    n: Count
    """How many cases (pooled, per case) or slices (per slice) it is of."""


class Ratios(_Part):
    """Ratios of pixel counts, 0 to 1, more is better."""

    dice: Figure
    """2 TP / (2 TP + FP + FN)."""
    iou: Figure
    """TP / (TP + FP + FN)."""
    ppv: Figure
    """TP / (TP + FP): the share of what is said that is right (precision)."""
    sensitivity: Figure
    """TP / (TP + FN): the share of the lesion that is found (recall)."""
    specificity: Figure
    """TN / (TN + FP): the share of the background that is left alone; near 1 for any model, most of a slice is easy."""


class CaseFigures(Ratios):
    """Means over cases: each case counts alike, whatever its size."""

    nsd: Figure
    """Normalised surface distance: share of both surfaces that is near the other (`rules.surface`), 0 to 1."""
    hd95: Figure
    """95th percentile of the distance between the surfaces, in the unit that each case names; less is better."""
    lesion_f1: Figure
    """F1 of lesions as things (`rules.lesions`), 0 to 1."""
    volume_error_ml: Figure
    """Predicted less true volume in millilitres; null where the spacing is unknown."""
    volume_error_relative: Figure
    """Predicted less true volume, as a share of the true one; cases without a lesion are left out."""


class Pixels(_Part):
    tp: Count
    fp: Count
    fn: Count
    tn: Count


class Lesions(_Part):
    true: Count
    found: Count
    """Of the true ones."""
    predicted: Count
    right: Count
    """Of the predicted ones."""


class Case(_Part):
    """All figures of one case."""

    case: str
    slices: Count
    pixels: Pixels
    dice: Share | None
    iou: Share | None
    ppv: Share | None
    sensitivity: Share | None
    specificity: Share | None
    nsd: Share | None
    hd95: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    surface_unit: Literal["mm, in 3D", "mm, mean of slices", "pixels, mean of slices"]
    """Of `hd95` and of the tolerance of `nsd`."""
    lesions: Lesions
    lesion_f1: Share
    volume_error_ml: Number | None
    volume_error_relative: Number | None


class Threshold(_Part):
    """The probability above which a pixel is lesion."""

    value: Annotated[float, Field(gt=0, lt=1)]
    rule: str
    """By what it was chosen, on what."""
    chosen_on_these_slices: bool
    """True: the slices that are judged have chosen it themselves, so that its figures flatter."""
    left_out_dice: Share | None
    """Mean Dice over these cases, each at the threshold that all the others would choose: free of that flattery. null:
    of one case, or a threshold that these slices have not chosen."""


class AtThreshold(_Part):
    """All figures of one threshold."""

    threshold: Threshold
    pooled: Ratios
    """Of all pixels together: large lesions decide."""
    slice: Ratios
    """Means over slices."""
    case: CaseFigures
    cases: list[Case]


class Figures(_Part):
    fixed: AtThreshold
    """At 0.5, which nothing has chosen: what models are compared by."""
    chosen: AtThreshold | None
    """At the run's own threshold, which its validation part has chosen; null where the run has none."""


class Bin(_Part):
    pixels: Count
    probability: Share | None
    """Mean of the pixels' probabilities."""
    lesion: Share | None
    """Share of the pixels that are lesion."""


class Calibration(_Part):
    """Whether a probability of 0.7 is right in seven of ten pixels. Knows no threshold."""

    ece: Share | None
    """Expected calibration error over all labelled pixels: mean distance of probability and share, by pixels."""
    bins: list[Bin]
    """Of equal width from 0 to 1."""


class Rules(_Part):
    """How the figures are made, for people."""

    empty: str
    lesions: str
    interval: str
    surface: str


class Data(_Part):
    """What was learnt from and what is judged."""

    source: str
    licence: str
    """As its source says; empty where it says nothing."""
    annotators: list[str]
    """Whose masks there are."""
    learnt_from: list[str]
    """Those of them that a training sees: all but a truth that is known."""
    annotators_rule: str
    """How several masks became one (`data.annotators.rule`)."""
    judged_by: str
    """Whose mask, or which rule's, the figures are against."""
    slices: Count
    """That are judged."""
    cases: Count
    """That are judged."""
    of_run: Count
    """How many of them the run has learnt from or held out, by their content; of other data none should be."""
    digest: str
    """SHA-256 of the sorted lines `part TAB name TAB content`, of the parts train and val (other data: of `other`)."""
    hashes: dict[str, str]
    """Content of each judged slice, pixels and labels."""


class Split(_Part):
    """How the run held out what is judged."""

    by: str
    """What is kept together."""
    leaky: str
    """Why every figure is too good; empty where it is not."""
    settings: dict[str, Any]
    train_slices: Count
    train_groups: Count
    learn_only: Count
    """Of the learnt slices, those whose labels are not good enough to judge by (a model's answers)."""
    val_slices: Count
    val_groups: Count
    left_out: Count
    """Slices in neither part: they show what a held-out slice shows."""


class Training(_Part):
    """How the training went, over all its attempts."""

    epochs: Count
    steps: Count
    best_epoch: Count
    objective: str
    """The metric that chose the best epoch, on the held-out slices."""
    best: Number | None
    """Its value there."""
    stopped_early: str | None
    """Why it ended before its last epoch; null where it did not."""
    precision: str
    device: str
    processes: Annotated[int, Field(ge=1)] = 1
    """That trained together, a GPU each."""
    batch_size: Count
    micro_batch_size: Count
    """Slices of one pass through the network, at the end."""
    out_of_memory: Count
    """How often the device had no memory left and the micro-batch was halved."""
    seconds: Seconds
    """Of all epochs, evaluations included; without reading data, start-up and this report."""
    seed: int | None
    """Of weights, order and augmentation; null where the run's folder does not say."""


class Model(_Part):
    architecture: str
    encoder: str
    parameters: Count
    """Numbers that are learnt."""
    epoch: Count
    """That the weights are of."""
    selected: Literal["best", "last"]
    """best: the epoch of the best objective on what was held out. last: the end of the training, whatever it was."""
    weights: str
    """raw: of the training itself; ema: their running mean."""
    pretrained: str | None
    """File that the training began with, whose licence is the user's to know; null: from scratch."""


class Result(_Part):
    """A report's result.json. Not for diagnosis."""

    schema_: Annotated[Literal[2], Field(alias="schema")] = SCHEMA
    part: Literal["validation", "other"]
    """validation: what the run held out, and chose its best epoch and threshold by. other: slices it had no part in."""
    note: str
    """What a reader has to know before he believes the figures."""
    tta: bool
    """Whether the probabilities are means over the four flips of a slice."""
    model: Model
    data: Data
    split: Split | None
    """null: other data than the run's."""
    training: Training | None
    """null: the run's folder does not say."""
    figures: Figures
    calibration: Calibration
    rules: Rules
    seconds: Seconds
    """That this report took, inference included."""
    params: dict[str, Any]
    """All parameters of the training."""
    versions: dict[str, str]


def dumps(result: Result) -> bytes:
    """As it is written."""
    content = result.model_dump(mode="json", by_alias=True)
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def loads(content: bytes) -> Result:
    """Raises ValueError for anything that this version has not written."""
    found = json.loads(content)
    if not isinstance(found, Mapping) or found.get("schema") != SCHEMA:
        raise ValueError(f"is no result of schema {SCHEMA}")
    return Result.model_validate(found)
