"""`lint`: is this file right? The schema, then each trial's parameters by the trainer's own model, and what becomes of
trials that are the same. Needs no cluster.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from orkhaven.cli.output import Column, Format, View, emit
from orkhaven.cli.session import Session
from orkhaven.cli.submit import load
from orkhaven.client.check import check
from orkhaven.client.dedupe import without_cluster
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
        wrong, said = _parameters(body, most=most)
        found += [{"object": label, **entry} for entry in wrong]
        notes += [f"{label}: {note}" for note in said]
    if session.output is not Format.TABLE:
        emit(View(COLUMNS, found), session.output)
        return 1 if found else 0
    for entry in found:
        trials = f"  (in {entry['trials']})" if entry["trials"] else ""
        print(f"{entry['object']}: {entry['where']}: {entry['problem']}{trials}")
    for note in notes:
        print(note, file=sys.stderr)
    return 1 if found else 0


def _parameters(body: Body, *, most: int) -> tuple[list[dict[str, Any]], list[str]]:
    """(what the trainer would refuse, what was looked at and what is to be known of it)."""
    try:
        verdict = check(body, most=most)
        of_twins = without_cluster(body)
    except Invalid as error:
        where, _, what = str(error).partition(": ")
        return [{"where": where, "problem": what, "trials": None}], ["the schema is right, its trials are not"]
    total = "1 trial" if verdict.total == 1 else f"{verdict.total:,} trials"
    repeats = (body["spec"].get("search") or {}).get("repeats") or 1
    if repeats > 1:
        total = f"{verdict.total:,} combinations with {repeats} repeats each"
    if verdict.unchecked:
        return [], [f"{total}; the schema is right (parameters not checked: {verdict.unchecked})", *of_twins]
    rows = [{"where": one.where, "problem": one.problem, "trials": verdict.share(one) or None} for one in verdict.wrong]
    rest = verdict.total - verdict.checked - verdict.later
    sample = f" at random, {rest:,} further ones not (--max-trials)" if rest else ""
    said = f"{verdict.failing:,} would fail with InvalidParams" if verdict.failing else "parameters are right"
    later = f", {verdict.later:,} chosen later, by the results of these" if verdict.later else ""
    looked = f"{total}; the schema is right, {verdict.checked:,} checked by ctseg{sample}{later}: {said}"
    return rows, [looked, *of_twins]
