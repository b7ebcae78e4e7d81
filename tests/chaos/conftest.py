"""One stage for the whole run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.stage import Stage, make
from tests.cluster.bare import possible


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if (reason := possible()) is not None:
        pytest.skip(f"the cluster's own processes cannot be run, and killed, here: {reason}")
    yield from make(tmp_path_factory.mktemp("stage"))
