"""`orkhaven simulate` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orkhaven.__main__ import main

NODES = "[{count: 2, gpus: 8, model: A100, memory: 80Gi}]"


@pytest.fixture
def nodes(tmp_path: Path) -> str:
    file = tmp_path / "nodes.yaml"
    file.write_text(NODES)
    return str(file)


def test_a_trace_is_made_and_replayed(nodes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["simulate", "--nodes", nodes, "--make-trace", "--days", "0.5", "--namespaces", "3", "--seed", "7"]) == 0
    )
    trace = tmp_path / "t.csv"
    trace.write_text(capsys.readouterr().out)
    assert main(["simulate", "--nodes", nodes, "--trace", str(trace), "--weight", "team-00=2", "--policy", "all"]) == 0
    said = capsys.readouterr().out
    assert "| | fair share | first come, first served | strict priority | shortest first |" in said
    assert "| wait of Interactive, p50 / p95 / longest |" in said
    assert f"{len(trace.read_text().splitlines()) - 1:,} runs" in said


def test_a_wrong_trace_is_a_sentence(nodes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text("submitted_s,namespace,user,gpus,duration_s,priority\n0,a,u,none,5,Standard\n")
    assert main(["simulate", "--nodes", nodes, "--trace", str(trace)]) == 64
    assert 't.csv, line 2, column gpus: "none"' in capsys.readouterr().err


def test_a_file_that_is_not_there_is_a_sentence(nodes: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--nodes", nodes, "--trace", "nowhere.csv"]) == 64
    assert "nowhere.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--weight", "team-00=none"], 'argument --weight: "none" is not a number'),
        (["--weight", "team-00=0"], "argument --weight: has to be above 0"),
        (["--weight", "=2"], "is not NAMESPACE=WEIGHT"),
        (["--policy", "best"], "invalid choice"),
        (["--half-life", "0"], "argument --half-life: has to be above 0"),
        (["--users", "x"], "argument --users"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_refused(
    nodes: str, option: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "--nodes", nodes, "--trace", "t.csv", *option])
    assert words in capsys.readouterr().err


def test_other_commands_still_refuse_what_they_do_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["version", "--nodes", "n.yaml"])
    assert "unrecognized arguments" in capsys.readouterr().err
