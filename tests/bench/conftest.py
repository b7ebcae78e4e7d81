"""What the hub's benches share: the table, the store of 10,000 runs, Chromium."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bench.hub_report import Report

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """Collects the table's cells; prints it at the end."""
    made = Report(writes=bool(os.environ.get("ORKHAVEN_BENCH_DOCS")))
    yield made
    if made:
        print(f"\n{made.text()}")


@pytest.fixture(scope="session")
def ten_thousand_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database. Where ORKHAVEN_BENCH_STORE names a file, it is kept there and used again; a copy is asked, so that
    it stays as it is.
    """
    from tests.bench import hub_store

    database = tmp_path_factory.mktemp("store") / "hub.db"
    kept = os.environ.get("ORKHAVEN_BENCH_STORE")
    if kept and Path(kept).exists():
        shutil.copy(kept, database)
        return database
    started = time.perf_counter()
    hub_store.fill(database)
    print(f"\nmade {hub_store.TOTAL:,} points in {time.perf_counter() - started:.0f} s")
    if kept:
        shutil.copy(database, kept)
    return database


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()
