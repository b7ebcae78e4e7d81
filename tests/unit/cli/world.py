"""A `Session` with an API server in memory, and a hub in memory or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from orkhaven.cli.session import Session
from orkhaven.client.errors import NoHub
from orkhaven.client.hub import Hub
from orkhaven.client.kube import Kube
from tests.unit.client.fake_api import FakeApi

Capture = pytest.CaptureFixture[str]


class TestSession(Session):
    """With an API server in memory, and a hub in memory or none."""

    __test__ = False

    def __init__(
        self, api: FakeApi, hub: Callable[[httpx.Request], httpx.Response] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.api = api
        self.hub_answer = hub

    @property
    def kube(self) -> Kube:  # type: ignore[override]
        return self.api.kube()

    @property
    def hub(self) -> Hub:  # type: ignore[override]
        if self.hub_answer is None:
            raise NoHub("the hub is away")
        return Hub(httpx.Client(transport=httpx.MockTransport(self.hub_answer), base_url="http://hub"), lambda: "mine")
