"""Samples of several annotators as a training sees them: one target to learn from, one to be judged by. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ctseg.config.labels import Rule
from ctseg.data.samples import Samples
from ctseg.labels.fuse import fuse, judged_by, learnt_from


def to_learn(samples: Samples, rule: Rule) -> Samples:
    """One plane by the rule, without the truth where others are. Under "random" the planes stay apart, for the training
    to draw one per slice and step with `fuse`; a single one is left as it is.
    """
    return _join(samples, learnt_from(samples.annotators), rule, keep_apart=rule == "random")


def to_judge(samples: Samples, rule: Rule) -> Samples:
    """One plane: the truth where it is known, else what the rule makes of all; "random" is no verdict, it is judged by
    the majority.
    """
    return _join(samples, judged_by(samples.annotators), "majority" if rule == "random" else rule, keep_apart=False)


def leaves_alone(annotators: Sequence[str], rule: Rule, *, judge: bool) -> bool:
    """Whether `to_judge` or `to_learn` gives back the masks as they are."""
    planes = judged_by(annotators) if judge else learnt_from(annotators)
    return len(planes) == len(annotators) and (len(planes) == 1 or (rule == "random" and not judge))


def _join(samples: Samples, planes: list[int], rule: Rule, *, keep_apart: bool) -> Samples:
    names = tuple(samples.annotators[i] for i in planes)
    masks = samples.masks if len(names) == len(samples.annotators) else samples.masks[:, planes]
    if keep_apart or len(names) == 1:
        return replace(samples, masks=masks, annotators=names)
    return replace(samples, masks=fuse(masks, rule=rule, cases=samples.cases)[:, None], annotators=(rule,))
