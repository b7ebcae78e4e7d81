"""The model card: what a person has to know before using a model, in Markdown, from the result alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctseg.report import schema

_WHAT = {
    "dice": "Dice",
    "iou": "IoU",
    "ppv": "PPV",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "nsd": "NSD",
    "hd95": "HD95, {unit} (less is better)",
    "lesion_f1": "F1 of lesions",
    "volume_error_ml": "volume error, ml",
    "volume_error_relative": "volume error, share",
}

_RULES = {
    "union": "their union",
    "majority": "the majority",
    "intersection": "what all of them mark",
    "soft": "their mean",
    "staple": "what STAPLE makes of them",
    "random": "one at random in each step",
}


def card(result: schema.Result, *, pictures: Sequence[str]) -> str:
    """`pictures`: names of the files beside it; none for a card that stands alone."""
    sections = (_head(result), _model(result), _data(result), _recipe(result), _figures(result), _limits(result))
    lines = [line for section in sections for line in section]
    if pictures:
        lines += ["", "## Pictures", "", *(f"![{name.removesuffix('.png')}]({name})" for name in pictures)]
    return "\n".join(lines) + "\n"


def _head(result: schema.Result) -> Iterator[str]:
    yield from ("# Model card", "")
    yield "**Not for diagnosis.** No medical device; for research on segmentation of CT."
    if result.split is not None and result.split.leaky:
        yield from ("", f"**Every figure below is too good: {result.split.leaky}.**")


def _model(result: schema.Result) -> Iterator[str]:
    model = result.model
    yield from ("", "## Model", "")
    yield f"- Network: {model.architecture} over {model.encoder}, {model.parameters / 1e6:.1f} M parameters"
    mean = ", their running mean (EMA)" if model.weights == "ema" else ""
    end = ", where the training ended" if model.selected == "last" else ""
    yield f"- Weights: after epoch {model.epoch}{end}{mean}"
    if model.pretrained is None:
        yield "- Begun from: random weights"
    else:
        yield (
            f"- Begun from: {model.pretrained}. Its licence is not known here and binds this model too: "
            "look it up before you share the model"
        )
    chosen = result.figures.chosen
    if chosen is None:
        yield "- Threshold: 0.5, chosen by nothing"
    else:
        yield f"- Threshold: {chosen.threshold.value} ({chosen.threshold.rule})"


def _data(result: schema.Result) -> Iterator[str]:
    data, split = result.data, result.split
    yield from ("", "## Data", "", f"- Source: {data.source}")
    yield f"- Licence: {data.licence or 'not said by its source; ask before you share data or model'}"
    several = f", of several masks of a slice {_RULES[data.annotators_rule]}" if len(data.learnt_from) > 1 else ""
    points = ", of which points alone are shown" if result.params["data"].get("points", {}).get("enabled") else ""
    yield f"- Annotators that are learnt from: {', '.join(data.learnt_from)}{several}{points}"
    yield f"- Judged on: {data.slices} slices of {data.cases} cases, against {data.judged_by}"
    if split is None:
        yield "- Split: none of these slices was learnt from by this run"
    else:
        yield (
            f"- Split: by {split.by}; learnt from {split.train_slices} slices in {split.train_groups} groups"
            + (f" ({split.learn_only} of these slices with labels that judge nothing)" if split.learn_only else "")
            + f", held out {split.val_slices} in {split.val_groups}"
            + (f", {split.left_out} in neither part" if split.left_out else "")
        )
        settings = split.settings
        folds = f"fold {settings['fold']} of {settings['folds']}" if settings.get("folds") else "no folds"
        yield f"- Split drawn with: seed {settings.get('seed')}, {folds}"
    yield f"- Digest of all these slices: sha256 {data.digest}; of each judged one in `hashes` of result.json"


def _recipe(result: schema.Result) -> Iterator[str]:
    params, training = result.params, result.training
    yield from ("", "## Training", "")
    for name in ("loss", "optimizer", "augmentation", "teacher", "selection", "consistency"):
        if _on(name, params.get(name, {})):
            yield f"- {name}: {_short(params[name])}"
    data = params["data"]
    yield f"- input: {data['image_size']} x {data['image_size']} pixels, windows {data['windows']}"
    if params.get("ema", {}).get("decay") is not None:
        yield f"- EMA: {_short(params['ema'])}"
    if training is None:
        yield f"- batch size {params['batch_size']}, {params['epochs']} epochs asked for"
        return
    yield (
        f"- {training.epochs} of {params['epochs']} epochs, {training.steps} steps of {training.batch_size} slices "
        f"({training.micro_batch_size} at once), {training.seconds:.0f} s on {training.device} in {training.precision}"
    )
    if training.out_of_memory:
        yield f"- memory of the device ran out {training.out_of_memory} times; the batch was taken in smaller parts"
    if training.stopped_early:
        yield f"- {training.stopped_early}"
    best = "" if training.best is None else f" ({training.best:.4f})"
    yield f"- best epoch {training.best_epoch}, by {training.objective}{best} of the held-out slices"
    if training.seed is not None:
        yield f"- seed of weights, order and augmentation: {training.seed}"


def _on(name: str, part: Mapping[str, Any]) -> bool:
    """Whether a component does anything."""
    off = {"teacher": ("weight", 0), "consistency": ("weight", 0), "selection": ("keep", 1)}
    key, value = off.get(name, ("", None))
    return bool(part) and not (key and part.get(key) == value)


def _short(part: Mapping[str, Any]) -> str:
    """Nested options as `a.b value`, without those that are null or empty."""
    found = []
    for name, value in part.items():
        if isinstance(value, Mapping):
            inner = _short(value)
            found += [f"{name} ({inner})"] if inner else []
        elif value not in (None, [], ""):
            found.append(f"{name} {value}")
    return ", ".join(found)


def _figures(result: schema.Result) -> Iterator[str]:
    yield from ("", "## Figures", "", result.note)
    tables = [result.figures.fixed]
    if result.figures.chosen is not None and result.figures.chosen.threshold.value != 0.5:
        tables.append(result.figures.chosen)
    for table in tables:
        yield from ("", f"At threshold {table.threshold.value}, {table.threshold.rule}:", "")
        units = ", ".join(sorted({case.surface_unit for case in table.cases}))
        yield from ("| figure | pooled | per slice | per case |", "|---|---|---|---|")
        for name in schema.CaseFigures.model_fields:
            levels = (table.pooled, table.slice, table.case)
            cells = [_cell(getattr(level, name, None)) for level in levels]
            yield f"| {_WHAT[name].format(unit=units)} | {' | '.join(cells)} |"
    chosen = result.figures.chosen
    if chosen is not None and chosen.threshold.left_out_dice is not None:
        left_out = chosen.threshold.left_out_dice
        yield from ("", f"Mean Dice of the cases, each at the threshold that all others would choose: {left_out:.3f}.")
    ece = result.calibration.ece
    yield from ("", f"In brackets: {result.rules.interval}. Empty cases: {result.rules.empty}.", "")
    yield f"ECE over all pixels: {'-' if ece is None else f'{ece:.4f}'} (most pixels are easy background)."


def _cell(figure: schema.Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    interval = figure.interval
    return f"{figure.value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _limits(result: schema.Result) -> Iterator[str]:
    yield from ("", "## Limits", "")
    yield (
        "- Two observers who outline infections on CT agree with a Dice of about 0.70 (Bartoli et al. 2022: "
        "0.70 +- 0.08 between and 0.72 +- 0.09 within observers). More than that on labels of one annotator is "
        "fitting the annotator."
    )
    yield "- Other scanners, reconstructions and diseases than those of the data were not tried."
    if result.split is not None:
        chose = "the best epoch and the threshold" if result.model.selected == "best" else "the threshold"
        yield f"- What was held out chose {chose}: figures of new patients will be lower."
    if result.data.cases < 30:
        yield f"- {result.data.cases} cases: an interval of so few is itself a guess."
