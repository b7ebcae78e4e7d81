"""How the program starts: usage, completion, what it loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orkhaven.cli import app
from orkhaven.cli.complete import complete
from tests.unit.cli.world import Capture


@pytest.mark.parametrize(
    ("arguments", "code"), [(["top"], 2), (["nonsense"], 2), (["status", "-o", "xml"], 2), (["version", "--client"], 0)]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], code: int, capsys: Capture) -> None:
    assert app.run(arguments) == code


@pytest.mark.parametrize(
    ("words", "found", "directive"),
    [
        (["su"], ["submit", "suspend"], 4),
        (["qu"], ["queue"], 4),
        (["gp"], ["gpus"], 4),
        (["queue", "--all"], ["--all-namespaces"], 4),
        (["status", "--wa"], ["--watch"], 4),
        (["top", "covid", "-o", "l"], ["latex"], 4),
        (["top", "covid", "--output=c"], ["--output=csv"], 4),
        (["submit", ""], [], 0),
        (["wait", "x", "--for", "Fin"], ["Finished"], 4),
        (["diff", "a", "b", ""], [], 4),
    ],
)
def test_completion(words: list[str], found: list[str], directive: int) -> None:
    candidates, said = complete(words)
    assert ([one.split("\t")[0] for one in candidates], said) == (found, directive)


def test_start_up_loads_nothing_heavy() -> None:
    """What makes `--help` slow is what it imports; a time would depend on the machine."""
    program = "import sys; from orkhaven.cli.app import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    heavy = {"httpx", "pydantic", "yaml", "rich", "pandas", "matplotlib", "kubernetes", "torch", "orkhaven.api"}
    assert heavy.isdisjoint(done.stderr.split())
    verbs = "from orkhaven.cli import describe, find, logs, status, steer, top, trouble, wait; import sys"
    program = f"{verbs}; from orkhaven.client import connect, wire; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert heavy.isdisjoint(done.stderr.split()), "what only asks the cluster needs none of them"
