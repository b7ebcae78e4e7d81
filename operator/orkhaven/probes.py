"""/healthz, /readyz and /metrics of the operator, served from the engine's own event loop: an answer shows it turns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Check = Callable[[], bool]


class Probes:
    """A small HTTP server. `port` is the real one once it is started."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        healthy: Mapping[str, Check],
        ready: Mapping[str, Check],
    ) -> None:
        self._host, self.port = host, port
        self._registry = registry
        application = web.Application()
        application.router.add_get("/healthz", _answer(healthy))
        application.router.add_get("/readyz", _answer(ready))
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(checks: Mapping[str, Check]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """200 and a line each where all hold, else 503."""

    async def answer(_: web.Request) -> web.Response:
        results = {name: check() for name, check in checks.items()}
        text = "".join(f"{'ok  ' if good else 'FAIL'} {name}\n" for name, good in results.items())
        return web.Response(text=text, status=200 if all(results.values()) else 503)

    return answer
