"""What the verbs are tried on: a namespace of made-up sweeps."""

from __future__ import annotations

import pytest

from tests.cli_world import covid, finished
from tests.unit.cli.world import TestSession
from tests.unit.client.fake_api import FakeApi


@pytest.fixture
def api() -> FakeApi:
    return FakeApi([*covid(), finished("baseline"), finished("broken", failed=1)])


@pytest.fixture
def session(api: FakeApi) -> TestSession:
    return TestSession(api)
