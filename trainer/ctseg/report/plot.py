"""Curves of a training and the diagram of its calibration, as PNG, with Pillow alone.

A plotting library would cost each trial a second and an image of the trainer 100 MB, for two pictures of known form.
Drawn at twice the size and made smaller: that is what makes lines smooth.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from ctseg.report import schema

_SCALE = 2
_INK, _GREY, _GRID = (40, 40, 40), (120, 120, 120), (226, 226, 226)
BLUE, ORANGE, GREEN, PURPLE = (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167)
"""Of Okabe and Ito, for colour-blind readers."""
Colour = tuple[int, int, int]
Point = tuple[float, float]


def curves(history: Mapping[int, Mapping[str, float]], *, best_epoch: int, objective: str) -> bytes:
    """A PNG of the losses and of the held-out Dice after each epoch; the best one is marked. Raises ValueError of no
    epoch.
    """
    if not history:
        raise ValueError("there is no epoch to draw")
    paper = _Paper(1180, 480)
    epochs = sorted(history)
    ends = (epochs[0] - 0.5, epochs[-1] + 0.5) if len(epochs) < 12 else (epochs[0], epochs[-1])
    panels = (
        ("Loss", 70, {"train/loss": ("learnt slices", ORANGE), "val/loss": ("held-out slices", BLUE)}, None),
        (
            "Dice of the held-out slices at threshold 0.5",
            660,
            {
                "val/dice": ("pooled", BLUE),
                "val/dice_slice": ("mean of slices", GREEN),
                "val/dice_case": ("mean of cases", PURPLE),
            },
            (0.0, 1.0),
        ),
    )
    for title, left, wanted, limits in panels:
        lines = {
            label: (
                colour,
                [(float(e), history[e][name]) for e in epochs if math.isfinite(history[e].get(name, math.nan))],
            )
            for name, (label, colour) in wanted.items()
        }
        if len(lines) == 3 and lines["mean of slices"][1] == lines["mean of cases"][1]:  # one slice is one case
            del lines["mean of slices"]
            lines["mean of slices and cases"] = lines.pop("mean of cases")
        values = [y for _, points in lines.values() for _, y in points]
        axes = _Axes(paper, (left, 74, left + 480, 400), ends, limits or _around(values))
        paper.text((left, 12), title, size=17)
        axes.frame(x="epoch", whole=True)
        axes.upright(best_epoch)
        legend: list[tuple[str, Colour, str]] = []
        for label, (colour, points) in lines.items():
            axes.line(points, colour, dots=len(epochs) < 40)
            axes.ring([point for point in points if point[0] == best_epoch], colour)
            legend.append((label, colour, "line"))
        legend.append((f"best epoch, {best_epoch}", _GREY, "dashes"))
        paper.legend((left, 42), legend)
    paper.text((70, 455), f"The best epoch is the one of the best {objective}.", size=13, colour=_GREY)
    return paper.png()


def reliability(found: schema.Calibration) -> bytes:
    """A PNG: for each bin of probabilities the share of its pixels that are lesion, and how many pixels it has."""
    paper = _Paper(620, 740)
    number = len(found.bins)
    known = [(i, b) for i, b in enumerate(found.bins) if b.probability is not None and b.lesion is not None]
    ece = "not defined" if found.ece is None else f"{found.ece:.4f}"
    paper.text((80, 12), f"Calibration: ECE {ece} of {sum(b.pixels for b in found.bins):,} pixels", size=17)
    axes = _Axes(paper, (80, 74, 590, 500), (0.0, 1.0), (0.0, 1.0))
    axes.frame(y="share of lesion")
    for i, one in known:
        axes.bar(i / number, (i + 1) / number, one.lesion or 0.0, (196, 221, 236), edge=BLUE)
    axes.dashes((0.0, 0.0), (1.0, 1.0), _GREY)
    points = [(one.probability or 0.0, one.lesion or 0.0) for _, one in known]
    for mean, share in points:
        axes.dashes((mean, mean), (mean, share), ORANGE, length=400)
    axes.line(points, BLUE, dots=True)
    paper.legend(
        (80, 42), [("lesion in the bin", BLUE, "line"), ("perfect", _GREY, "dashes"), ("distance", ORANGE, "line")]
    )
    most = max((b.pixels for b in found.bins), default=1)
    top = math.ceil(math.log10(max(most, 10)))
    below = _Axes(paper, (80, 540, 590, 670), (0.0, 1.0), (0.0, float(top)))
    every = max(1, math.ceil(top / 4))
    below.frame(x="probability", y="pixels", ticks={float(p): _power(p) for p in range(0, top + 1, every)})
    for i, one in enumerate(found.bins):
        if one.pixels:
            below.bar(
                i / number, (i + 1) / number, max(math.log10(one.pixels), 0.03 * top), (170, 170, 170), edge=_GREY
            )
    return paper.png()


class _Paper:
    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.image = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self, at: Point, text: str, *, size: int = 14, colour: Colour = _INK, anchor: str = "la", turned: bool = False
    ) -> None:
        font = ImageFont.load_default(size * _SCALE)
        x, y = (round(v * _SCALE) for v in at)
        if not turned:
            self.draw.text((x, y), text, fill=colour, font=font, anchor=anchor)
            return
        left, top, right, bottom = font.getbbox(text)
        patch = Image.new("L", (math.ceil(right - left) + 4, math.ceil(bottom - top) + 4), 0)
        ImageDraw.Draw(patch).text((2 - left, 2 - top), text, fill=255, font=font)
        patch = patch.transpose(Image.Transpose.ROTATE_90)
        self.image.paste(colour, (x - patch.width // 2, y - patch.height // 2), patch)

    def legend(self, at: Point, entries: Sequence[tuple[str, Colour, str]]) -> None:
        x, y = at
        font = ImageFont.load_default(14 * _SCALE)
        for text, colour, kind in entries:
            self.stroke((x, y + 9), (x + 22, y + 9), colour, width=2.5, dash=5 if kind == "dashes" else 0)
            self.text((x + 28, y), text)
            x += 28 + font.getlength(text) / _SCALE + 20

    def stroke(self, start: Point, end: Point, colour: Colour, *, width: float = 1.0, dash: float = 0) -> None:
        """A straight line, whole or in dashes of so many pixels."""
        length = math.dist(start, end)
        pieces = [(0.0, length)]
        if dash:
            pieces = [(d * 2 * dash, min(d * 2 * dash + dash, length)) for d in range(math.ceil(length / (2 * dash)))]
        for a, b in pieces:
            points = [
                tuple(_SCALE * (s + (e - s) * t / max(length, 1e-9)) for s, e in zip(start, end, strict=True))
                for t in (a, b)
            ]
            self.draw.line([points[0], points[1]], fill=colour, width=round(width * _SCALE))

    def png(self) -> bytes:
        packed = io.BytesIO()
        self.image.reduce(_SCALE).save(packed, "PNG")
        return packed.getvalue()


@dataclass(frozen=True, slots=True)
class _Axes:
    paper: _Paper
    box: tuple[int, int, int, int]
    """Left, top, right, bottom on the paper."""
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> Point:
        left, top, right, bottom = self.box
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def frame(self, *, x: str = "", y: str = "", whole: bool = False, ticks: Mapping[float, str] | None = None) -> None:
        """Grid, axes, numbers and names. `whole`: x counts something. `ticks`: of y, else they are found."""
        left, top, right, bottom = self.box
        for value, text in (_ticks(*self.y) if ticks is None else ticks).items():
            height = self.at(self.x[0], value)[1]
            self.paper.stroke((left, height), (right, height), _GRID)
            self.paper.text((left - 8, height), text, size=13, anchor="rm")
        for value, text in _ticks(*self.x, whole=whole).items():
            place = self.at(value, self.y[0])[0]
            self.paper.stroke((place, bottom), (place, bottom + 5), _INK)
            self.paper.text((place, bottom + 9), text, size=13, anchor="ma")
        self.paper.stroke((left, top), (left, bottom), _INK)
        self.paper.stroke((left, bottom), (right, bottom), _INK)
        if x:
            self.paper.text(((left + right) / 2, bottom + 28), x, size=14, anchor="ma")
        if y:
            self.paper.text((left - 56, (top + bottom) / 2), y, size=14, turned=True)

    def line(self, points: Sequence[Point], colour: Colour, *, dots: bool) -> None:
        places = [self.at(*point) for point in points]
        if len(places) > 1:
            flat = [(x * _SCALE, y * _SCALE) for x, y in places]
            self.paper.draw.line(flat, fill=colour, width=round(2.2 * _SCALE), joint="curve")
        if dots or len(places) == 1:
            for x, y in places:
                self._circle(x, y, 3.2, fill=colour)

    def ring(self, points: Sequence[Point], colour: Colour) -> None:
        for point in points:
            x, y = self.at(*point)
            self._circle(x, y, 6, fill=(255, 255, 255), outline=colour)

    def _circle(self, x: float, y: float, radius: float, *, fill: Colour, outline: Colour | None = None) -> None:
        box = [(x - radius) * _SCALE, (y - radius) * _SCALE, (x + radius) * _SCALE, (y + radius) * _SCALE]
        self.paper.draw.ellipse(box, fill=fill, outline=outline, width=round(2.2 * _SCALE))

    def upright(self, x: float) -> None:
        if self.x[0] <= x <= self.x[1]:
            self.dashes((x, self.y[0]), (x, self.y[1]), _GREY)

    def dashes(self, start: Point, end: Point, colour: Colour, *, length: float = 5) -> None:
        self.paper.stroke(self.at(*start), self.at(*end), colour, width=1.6, dash=length)

    def bar(self, low: float, high: float, value: float, colour: Colour, *, edge: Colour) -> None:
        left, top = self.at(low, max(value, self.y[0]))
        right, bottom = self.at(high, self.y[0])
        box = [(left + 1.5) * _SCALE, top * _SCALE, (right - 1.5) * _SCALE, max(bottom, top) * _SCALE]
        self.paper.draw.rectangle(box, fill=colour, outline=edge, width=_SCALE)


def _ticks(low: float, high: float, *, whole: bool = False) -> dict[float, str]:
    """About six round numbers within the ends, and how they are written."""
    rough = max((high - low) / 6, 1e-12)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return {i * step: f"{i * step:.{digits}f}" for i in range(first, last + 1)}


def _around(values: Sequence[float]) -> tuple[float, float]:
    """From 0, where all are above it, to a little more than the highest."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    low = min(low, 0.0)
    return (low, high + 0.05 * (high - low)) if high > low else (low, low + 1.0)


def _power(exponent: int) -> str:
    return {0: "1", 1: "10", 2: "100", 3: "1,000"}.get(exponent, f"1e{exponent}")
