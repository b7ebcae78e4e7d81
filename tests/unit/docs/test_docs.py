"""The documentation says what is there: its links, its verbs, its causes, its commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import ctseg.__main__ as ctseg
from orkhaven.api import Reason
from orkhaven.core.retry import POLICIES
from tests.documents import PAGES, ROOT, commands, programs

RUN_HERE = {"make", "ctseg"}
RUN_END_TO_END = {"kubectl"}
"""tests/e2e/test_quickstart.py runs these against a finished quickstart, test_failures.py those of its own page."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_program_that_is_shown_is_run_by_a_test() -> None:
    assert programs() <= RUN_HERE | RUN_END_TO_END | {"eval"}


def test_make_verbs_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = [*commands("make"), *(line.removeprefix('eval "$(').removesuffix(')"') for line in commands("eval"))]
    for line in shown:
        verbs = [word for word in shlex.split(line)[1:] if not word.startswith("-") and "=" not in word]
        assert set(verbs) <= targets, line


@pytest.mark.parametrize("page", [page for page in PAGES if commands("ctseg", [page])], ids=lambda page: page.name)
def test_trainer_commands_work_as_they_are_shown(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in commands("ctseg", [page]):  # in the page's order: a later one may use what an earlier one has written
        assert not ctseg.main(shlex.split(line)[1:]), line


def test_every_cause_has_its_row() -> None:
    page = (ROOT / "docs" / "causes.md").read_text()
    waiting = {
        *(
            Reason.COMPLETED,
            Reason.CANCELLED,
            Reason.WAITING_FOR_GPUS,
            Reason.NO_FITTING_NODE,
            Reason.WAITING_FOR_RETRY,
        ),
        *(Reason.WAITING_FOR_POD, Reason.UNSCHEDULABLE, Reason.PULLING_IMAGE, Reason.CONTAINER_CREATING),
        *(Reason.REUSED, Reason.DUPLICATE, Reason.WAITING_FOR_TWIN, Reason.WAITING_FOR_KUEUE),
        *(Reason.TRAINING, Reason.SUSPENDED, Reason.SUSPENDING, Reason.STATUS_UNKNOWN),
    }
    missing = [reason for reason in Reason if reason not in waiting and f"`{reason}`" not in page]
    assert not missing


def test_what_is_done_about_every_cause_has_its_row() -> None:
    page = (ROOT / "docs" / "retry.md").read_text()
    (table,) = re.findall(r"^## One run\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert not [reason for reason in POLICIES if f"`{reason}`" not in table]
