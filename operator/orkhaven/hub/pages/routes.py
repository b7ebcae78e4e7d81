"""All pages, in one list."""

from __future__ import annotations

from fastapi import FastAPI

from orkhaven.hub.context import Clocks
from orkhaven.hub.pages import (
    actions,
    compare,
    events,
    experiments,
    exports,
    gpus,
    happenings,
    images,
    login,
    plots,
    queue,
    reports,
    start,
    static,
    sweep,
    sweeps,
    timeline,
    usage,
)
from orkhaven.hub.pages.context import make_pages
from orkhaven.hub.settings import HubSettings


def install(app: FastAPI, settings: HubSettings, clocks: Clocks) -> None:
    app.state.pages = make_pages(settings, wall=clocks.wall, monotonic=clocks.monotonic)
    for module in (
        static,
        login,
        start,
        sweeps,
        sweep,
        queue,
        gpus,
        exports,
        reports,
        plots,
        timeline,
        experiments,
        images,
        happenings,
        compare,
        events,
        actions,
        usage,
    ):
        app.include_router(module.router)
    app.include_router(reports.api)
