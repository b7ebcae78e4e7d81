"""A trial that failed and was run again stands once in its sweep's tables: by what took its place."""

from __future__ import annotations

import pytest

from orkhaven.hub.query.rows import ExperimentRow, experiment_row
from orkhaven.hub.query.tables import _without_replaced
from orkrun.contract import LABEL_RERUN_OF


def row(name: str, of: str | None = None) -> ExperimentRow:
    labels = {LABEL_RERUN_OF: of} if of else {}
    metadata = {"namespace": "ns", "name": name, "uid": name, "resourceVersion": "1", "labels": labels}
    return experiment_row({"metadata": metadata, "spec": {"params": {}}})


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        ([row("a"), row("b")], ["a", "b"]),
        ([row("a"), row("b", "a")], ["b"]),
        ([row("a"), row("b", "a"), row("c", "b")], ["c"]),
        ([row("b", "gone")], ["b"]),
    ],
    ids=["none", "one", "twice", "the old one is gone"],
)
def test_what_was_replaced_is_left_out(rows: list[ExperimentRow], want: list[str]) -> None:
    assert sorted(_without_replaced({one.name: one for one in rows})) == want
