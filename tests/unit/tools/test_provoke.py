"""Provoked failures: how a program ended, what it wrote, and what becomes of that in the corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools import corpus, provoke

OWN = """import orkrun
def train_step():
    raise ValueError("odd")
with orkrun.run() as run:
    train_step()
"""


def ran(folder: Path, program: str, **more: Any) -> dict[str, Any]:
    return provoke.run_one({"name": "a program", "program": program, **more}, folder)


@pytest.mark.parametrize(
    ("program", "seconds", "code"),
    [
        ("print('done')", 60, 0),
        ("raise SystemExit(3)", 60, 3),
        ("import os; os.kill(os.getpid(), 6)", 60, 134),
        ("import time; time.sleep(600)", 0.5, None),
    ],
    ids=["well", "a code", "a signal", "at its limit"],
)
def test_it_ends_as_a_container_does(tmp_path: Path, program: str, seconds: float, code: int | None) -> None:
    assert ran(tmp_path, program, seconds=seconds)["exit_code"] == code


def test_what_it_wrote_becomes_an_entry_without_the_machines_names(tmp_path: Path) -> None:
    programs = [
        {"name": "plain", "label": "UserException", "program": "def f():\n    return {}['x']\nf()"},
        {"name": "own", "label": "UserException", "bug": "odd", "program": OWN},
        {"name": "well", "label": "Crashed", "program": "print(1)"},
    ]
    provoke.run_all(programs, tmp_path / "results", at_once=2)
    entries = tmp_path / "corpus" / "provoked_gpu"
    entries.parent.mkdir()
    assert provoke.keep(provoke.read(tmp_path / "results"), programs, entries) == 2
    plain, own = corpus.load(entries.parent)
    assert 'File "/app/train.py", line 2, in f' in plain.evidence.text
    assert plain.bug == "UserException: plain"
    assert own.evidence.exit_code == 70
    assert own.evidence.record is not None
    assert own.evidence.record.location == "train.py:3 in train_step"
    assert "ValueError: odd" in own.evidence.text
    assert str(tmp_path) not in (entries / "UserException.yaml").read_text()


def test_every_program_is_one_of_its_own() -> None:
    programs = [program for name in provoke.SETS for program in provoke.programs(name)]
    assert len({provoke.source_of(program) for program in programs}) == len(programs)
    for program in programs:
        assert ("program" in program) + ("params" in program) == 1 or "command" in program, program["name"]
        compile(program.get("program", ""), program["name"], "exec")


def test_the_corpus_has_each_of_them() -> None:
    kept = {failure.source for failure in corpus.load()}
    written = {provoke.source_of(program) for name in provoke.SETS for program in provoke.programs(name)}
    assert written <= kept
    assert {source for source in kept if "on a GPU" in source} <= written
