"""`lint`: is this file right? The schema, then each trial's parameters by the trainer's own model. Needs no cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from orkhaven.cli.output import Column, Format, View, emit
from orkhaven.cli.session import Session
from orkhaven.cli.submit import load
from orkhaven.client.errors import Invalid
from orkhaven.client.kube import Body
from orkhaven.client.manifest import Setting, changed, problems

COLUMNS = (
    Column("OBJECT", "object"),
    Column("WHERE", "where"),
    Column("PROBLEM", "problem"),
    Column("TRIALS", "trials", right=True),
)


def lint(session: Session, files: Sequence[str], *, settings: Sequence[str], most: int) -> int:
    parsed = [Setting.parse(text) for text in settings]
    bodies = [changed(body, parsed) for body in load(files)]
    found: list[dict[str, Any]] = []
    notes = []
    for body in bodies:
        label = f"{body['kind'].lower()}/{(body.get('metadata') or {}).get('name') or '(without a name)'}"
        schema = problems(body)
        for problem in schema:
            where, _, what = problem.partition(": ")
            found.append({"object": label, "where": where, "problem": what or problem, "trials": None})
        if schema:
            continue
        wrong, note = _parameters(body, most=most)
        found += [{"object": label, **entry} for entry in wrong]
        notes.append(f"{label}: {note}")
    if session.output is not Format.TABLE:
        emit(View(COLUMNS, found), session.output)
        return 1 if found else 0
    for entry in found:
        trials = f"  (in {entry['trials']})" if entry["trials"] else ""
        print(f"{entry['object']}: {entry['where']}: {entry['problem']}{trials}")
    for note in notes:
        print(note, file=sys.stderr)
    return 1 if found else 0


def _parameters(body: Body, *, most: int) -> tuple[list[dict[str, Any]], str]:
    """(what the trainer would refuse, what was looked at)."""
    spec = body["spec"]
    template = spec if body["kind"] == "Experiment" else spec.get("template") or {}
    try:
        total, trials = _trials(body, most)
    except Invalid as error:
        where, _, what = str(error).partition(": ")
        return [{"where": where, "problem": what, "trials": None}], "the schema is right, its trials are not"
    if template.get("command") or not _is_ctseg(template.get("image")):
        return [], f"{_count(total)}; the schema is right (parameters: only its own image knows them)"
    if find_spec("ctseg") is None:
        return (
            [],
            f"{_count(total)}; the schema is right (parameters not checked: install the trainer, orkhaven[trainer])",
        )
    import orkrun
    from ctseg import config

    wrong: dict[tuple[str, str], list[int]] = {}
    checked = 0
    for index, params in enumerate(trials):
        checked += 1
        try:
            config.parse(params)
        except orkrun.InvalidParams as error:
            where, _, what = str(error).partition(": ")
            wrong.setdefault((where, what), []).append(index)
    rows = [
        {
            "where": f"params.{where}",
            "problem": what,
            "trials": f"{len(at)} of {checked} trials, the first is number {at[0]}" if total > 1 else None,
        }
        for (where, what), at in wrong.items()
    ]
    rest = f", {total - checked:,} further ones not (--max-trials)" if total > checked else ""
    verdict = "parameters are right" if not wrong else f"{sum(map(len, wrong.values()))} would fail with InvalidParams"
    return rows, f"{_count(total)}; the schema is right, {checked:,} checked by ctseg{rest}: {verdict}"


def _count(total: int) -> str:
    return "1 trial" if total == 1 else f"{total:,} trials"


def _trials(body: Body, most: int) -> tuple[int, list[Mapping[str, Any]]]:
    """(how many there are, the first ones)."""
    if body["kind"] == "Experiment":
        return 1, [body["spec"].get("params") or {}]
    from orkhaven.client.plan import first_trials, trials_of

    source = trials_of(body)
    first: list[Mapping[str, Any]] = list(first_trials(source, most))
    return source.total, first


def _is_ctseg(image: str | None) -> bool:
    """Whether the image is the CT trainer's, by its name; no image: the operator's default, which is."""
    if image is None:
        return True
    return image.partition("@")[0].rsplit("/", 1)[-1].partition(":")[0] in ("trainer", "trainer-cpu")
