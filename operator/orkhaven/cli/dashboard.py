"""`dashboard`: the hub's pages on this machine, through `kubectl port-forward`."""

from __future__ import annotations

import os
import sys
import webbrowser

from orkhaven.cli.session import Session
from orkhaven.client.hub import DEFAULT, ENV_HUB, Place, forward, segment


def dashboard(session: Session, sweep: str | None, *, port: int, browser: bool) -> int:
    place = Place.parse(session.place or os.environ.get(ENV_HUB) or DEFAULT)
    way = forward(session.target, place, port=port)
    session.stack.callback(way.close)
    path = "/"
    if sweep:
        path = f"/n/{segment(session.kube.namespace)}/sweeps/{segment(sweep)}"
    url = way.url + path
    print(url, flush=True)
    if browser and _has_screen():
        webbrowser.open(url)
    if place.url:
        return 0
    print("it asks for a token of yours: kubectl create token NAME prints one of a service account", file=sys.stderr)
    print("forwarding until Ctrl-C", file=sys.stderr, flush=True)
    try:
        way.wait()
    except KeyboardInterrupt:
        return 0
    print("error: the forwarding has ended: the hub's pod is gone, or the cluster is", file=sys.stderr)
    return 1


def _has_screen() -> bool:
    """Whether a browser that opens would be seen: over ssh it would run on the other machine, as text."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
