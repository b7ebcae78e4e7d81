"""helm, as the chart's tests use it."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import programs
from tests.unit.helm.chart import LOADER, Helm, Objects, Render, template


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Runs helm; skips where it has not been built yet, as a unit test builds nothing."""
    path = programs.find("helm")
    if path is None:
        pytest.skip("helm is not there yet: `make cluster-programs` builds it")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([path, *arguments], capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.fixture(scope="session")
def render(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Render:
    """The objects of `helm template` with the given values (nested dicts). Each set of values is rendered once."""

    @functools.cache
    def text(values: str, release: str) -> str:
        done = template(helm, tmp_path_factory.mktemp("values"), json.loads(values), release)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(values: dict[str, Any] | None = None, *, release: str = "orkhaven") -> Objects:
        found = yaml.load_all(text(json.dumps(values or {}), release), Loader=LOADER)
        return [entry for entry in found if entry]

    return run


@pytest.fixture
def refusal(helm: Helm, tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """What helm says about values that it refuses."""

    def run(values: dict[str, Any]) -> str:
        done = template(helm, tmp_path, values, "orkhaven")
        assert done.returncode != 0, "helm took them"
        return done.stderr

    return run
