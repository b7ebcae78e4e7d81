"""Parameters of the labels: what becomes of several annotators."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ctseg.config.base import Component

Rule = Literal["union", "majority", "intersection", "soft", "staple", "random"]


class Annotators(Component):
    """Several masks of one slice become one target. With one annotator every rule is that annotator."""

    rule: Rule = Field(
        "majority",
        description="union: anybody's lesion; majority: at least half of those who labelled the pixel; intersection: "
        "all of them; soft: their mean; staple: weighted by how good each of them is, estimated per case; random: one "
        "of them per slice, drawn anew each step. Unlabelled is never background.",
    )
