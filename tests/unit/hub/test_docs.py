"""What docs/hub-api.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orkhaven.api.expressions import QueryError
from orkhaven.hub.api.tables import DEFAULT_LIMIT
from orkhaven.hub.query.evaluate import evaluate
from orkhaven.hub.query.fields import FIELDS, METRIC_PARTS, REPEAT_PARTS
from orkhaven.hub.query.language import parse_filter
from orkhaven.hub.query.service import CURVE_POINTS
from orkhaven.hub.query.table import Table
from tests.unit.hub.conftest import running_hub
from tests.unit.hub.fakes import FakeCluster

TEXT = (Path(__file__).parents[3] / "docs" / "hub-api.md").read_text()
(BLOCK,) = re.findall(r"```filter\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", BLOCK.splitlines())
def test_every_filter_of_the_page_is_one(example: str) -> None:
    node = parse_filter(example)
    assert node is not None
    assert evaluate(node, Table()) == []


def test_every_column_is_named_and_no_other() -> None:
    table = TEXT.split("| column | what it is |")[1].split("\n\n")[0]
    words = set(re.findall(r"`([^`]+)`", table))
    described = {"params.NAME", 'metrics["NAME"].PART', *METRIC_PARTS, *(f"repeats.{part}" for part in REPEAT_PARTS)}
    assert words == set(FIELDS) | described


def test_the_error_is_the_one_shown() -> None:
    with pytest.raises(QueryError) as caught:
        parse_filter("stat == 1")
    assert f'"message": "{caught.value}"' in TEXT


async def test_the_routes_and_numbers_are_the_hub_s(sqlite_url: str) -> None:
    async with running_hub(FakeCluster(), sqlite_url) as hub:
        paths = [path.split("/namespaces/{namespace}")[-1] for path in hub.app.openapi()["paths"]]
    known = {re.sub(r"\{(\w+)(:path)?\}", lambda match: match[1].upper(), path) for path in paths}
    known = {path.replace("EXPERIMENT", "NAME") for path in known}
    rows = TEXT.split("|---|---|")[1].split("\n\n")[0]
    shown = {path.split("?")[0] for path in re.findall(r"`(/[^`]*)`", rows)}
    assert shown <= known, shown - known
    assert f"A page has {DEFAULT_LIMIT} rows" in TEXT
    assert f"({CURVE_POINTS:,})" in TEXT
