"""Every `kubectl ork` that the documentation shows is one that the program takes."""

from __future__ import annotations

import re
import shlex

import pytest
import typer.main

from orkhaven.cli.verbs import app
from tests.documents import PAGES, ROOT

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def shown() -> list[str]:
    """From code spans and blocks; once without what is optional, once with all of it."""
    found: dict[str, None] = {}
    for page in (*PAGES, ROOT / "examples" / "results.ipynb"):
        text = page.read_text()
        spans = re.findall(r"`(kubectl ork [^`]+)`", text)
        lines = re.findall(r"^(?:\$ )?(kubectl ork .*)$", text, re.MULTILINE)
        for one in [*spans, *lines]:
            plain = re.sub(r"\s+# .*", "", one.replace("\\|", "|")).strip()
            found[re.sub(r"\s*\[[^\]]*\]", "", plain)] = None
            found[re.sub(r"[\[\]]", "", plain)] = None
    return list(found)


@pytest.mark.parametrize("line", shown())
def test_the_program_takes_what_is_shown(line: str) -> None:
    _, _, verb, *arguments = shlex.split(line)
    assert verb in COMMANDS, line
    with COMMANDS[verb].make_context(verb, arguments):
        pass


def test_every_verb_is_in_its_page() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert [verb for verb in COMMANDS if f"kubectl ork {verb}" not in page] == []
