"""A run's artifacts as its page shows them: cases with layers that lie over one another, plain pictures, all as a list.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orkhaven.hub.artifacts.store import Found
from orkrun import contract
from orkrun.contract import ArtifactKind

SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""Pictures that a browser is given in place. SVG never is: it is a program."""
_VOLUME = re.compile(r"\.nii(\.gz)?\Z")
_SLICE = re.compile(r"(.+)/([0-9]{1,6})")
"""A group that ends with a number is a slice of the case before it."""

WhyNot = Callable[[Found], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An artifact in the list."""

    id: int
    name: str
    kind: str
    step: int | None
    attempt: int
    size: int
    sha256: str
    path: str
    about: str
    """Group, role and caption."""
    where: str
    why: str
    url: str | None


def pictures(found: Iterable[Found], why_not: WhyNot) -> dict[str, Any]:
    """`cases`: by name, each with its slices and steps; `gallery`: what has no role, by name with its steps; `hidden`:
    how many pictures and volumes are of a kind that is a download only. Of what came twice the last counts.
    """
    frames: dict[tuple[str, str], dict[tuple[int | None, int | None], dict[str, Any]]] = {}
    gallery: dict[tuple[str, str], dict[int | None, Any]] = {}
    hidden = 0
    for one in found:
        entry = one.entry
        if entry.kind == ArtifactKind.FILE:
            continue
        is_volume = entry.kind == ArtifactKind.VOLUME
        if not (_VOLUME.search(entry.path) if is_volume else entry.media_type in SHOWN):
            hidden += 1
        elif entry.role or is_volume:
            case, slice_ = (entry.group or entry.name, None) if is_volume else _case(entry.group or entry.name)
            layers = frames.setdefault((entry.kind, case), {}).setdefault((slice_, entry.step), {})
            layers[entry.role or "image"] = _layer(one, why_not)
        else:
            gallery.setdefault((entry.group, entry.name), {})[entry.step] = _layer(one, why_not)
    return {
        "cases": [
            {
                "name": case,
                "kind": kind,
                "frames": [
                    {"slice": slice_, "step": step, "layers": layers}
                    for (slice_, step), layers in sorted(of_case.items(), key=lambda item: _order(*item[0]))
                ],
            }
            # "image" before "volume": what is there at once before what a viewer must be fetched for.
            for (kind, case), of_case in sorted(frames.items(), key=lambda item: item[0])
        ],
        "gallery": [
            {
                "name": name,
                "group": group,
                "shots": [{"step": step, **shots[step]} for step in sorted(shots, key=lambda step: _order(step))],
            }
            for (group, name), shots in gallery.items()
        ],
        "hidden": hidden,
    }


def _case(group: str) -> tuple[str, int | None]:
    match = _SLICE.fullmatch(group)
    return (match[1], int(match[2])) if match else (group, None)


def _order(*numbers: int | None) -> tuple[int, ...]:
    """What has no number first."""
    return tuple(-1 if number is None else number for number in numbers)


def _layer(found: Found, why_not: WhyNot) -> dict[str, Any]:
    entry, why = found.entry, None if found.stored else why_not(found)
    return {
        "name": entry.name,
        "caption": entry.caption,
        "size": entry.size,
        "path": entry.path,
        "url": None if why else content_url(found),
        "why": why,
    }


def content_url(found: Found) -> str:
    return f"{contract.artifacts_path(found.namespace, found.experiment)}/{found.id}/content"


def rows(found: Sequence[Found], why_not: WhyNot) -> tuple[Row, ...]:
    return tuple(_row(one, why_not) for one in found)


def _row(found: Found, why_not: WhyNot) -> Row:
    entry, why = found.entry, None if found.stored else why_not(found)
    return Row(
        id=found.id,
        name=entry.name,
        kind=entry.kind,
        step=entry.step,
        attempt=entry.attempt,
        size=entry.size,
        sha256=entry.sha256,
        path=entry.path,
        about=" · ".join(part for part in (entry.group, entry.role, entry.caption) if part),
        where="" if why else "in the hub" if found.stored else "on the output volume",
        why=why or "",
        url=None if why else content_url(found),
    )


def once(why_not: WhyNot) -> WhyNot:
    """Asks for each place once: thousands of artifacts lie in one folder."""
    known: dict[tuple[str, object], str | None] = {}

    def ask(found: Found) -> str | None:
        key = (found.namespace, found.place)
        if key not in known:
            known[key] = why_not(found)
        return known[key]

    return ask


def of_run(found: Sequence[Found], body: Mapping[str, Any]) -> list[Found]:
    """Of this very Experiment, none of a namesake that is gone."""
    return [one for one in found if one.uid == body["metadata"]["uid"]]
