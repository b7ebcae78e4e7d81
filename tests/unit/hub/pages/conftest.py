"""Pages over a fake cluster and SQLite, asked by a browser that keeps cookies and runs no scripts."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.hub.conftest import RunningHub, running_hub, until
from tests.unit.hub.fakes import NAMESPACE, FakeCluster


class Browser:
    """As `reader`, once logged in."""

    def __init__(self, hub: RunningHub) -> None:
        self.hub = hub
        self.client = hub.client
        self.client.headers["Accept"] = "text/html,*/*"

    async def login(self, token: str = "reader", **form: str) -> httpx.Response:
        return await self.client.post("/login", data={"token": token, **form})

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.client.get(path, params=params or None)

    async def part(self, path: str, **params: Any) -> httpx.Response:
        """As HTMX asks for it."""
        return await self.client.get(path, params=params or None, headers={"HX-Request": "true"})

    async def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', (await self.get(f"/n/{NAMESPACE}/sweeps")).text)
        assert found is not None
        return found[1]


@pytest.fixture
async def anonymous(fake_cluster: FakeCluster, tmp_path: Path) -> AsyncIterator[Browser]:
    async with running_hub(fake_cluster, f"sqlite:///{tmp_path}/hub.db") as hub:
        await until(lambda: hub.app.state.hub.queries.catalogue.synced)
        yield Browser(hub)


@pytest.fixture
async def browser(anonymous: Browser) -> Browser:
    assert (await anonymous.login()).status_code == 303
    return anonymous


def add_sweep(cluster: FakeCluster, name: str = "sweep", **body: Any) -> dict[str, Any]:
    spec = {
        "objective": {"metric": "val/dice", "direction": "Maximize"},
        "parameters": [{"name": "lr", "values": [1, 2]}],
        "parallelism": 4,
        **body.pop("spec", {}),
    }
    return cluster.put("Sweep", name, spec=spec, **body)
