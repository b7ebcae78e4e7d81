"""`dashboard`: the hub's pages on this machine, through `kubectl port-forward`, in a browser that is logged in.

The token goes to the hub in a header, which answers with a code for one login within a minute; the browser is sent
there. What stands in a command line is seen by everybody on the machine, so the browser is given a file that only its
owner may read, and the file leads to the address.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack
from html import escape
from pathlib import Path
from urllib.parse import urlencode

from orkhaven.cli.session import Session
from orkhaven.client.connect import context_namespace
from orkhaven.client.errors import NotFound, NoToken
from orkhaven.client.hub import DEFAULT, ENV_HUB, Forward, Hub, Place, forward, hub_at
from orkhaven.client.tokens import TokenChoice, token_of
from orkhaven.client.wire import segment

_WAY_ON = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={url}">
<title>Orkhaven</title>
<a href="{url}">Orkhaven</a>
"""


def dashboard(session: Session, sweep: str | None, *, port: int, browser: bool) -> int:
    place = Place.parse(session.place or os.environ.get(ENV_HUB) or DEFAULT)
    path = f"/n/{segment(context_namespace(session.target))}/sweeps/{segment(sweep)}" if sweep else "/"
    choice = TokenChoice(token=session.token, service_account=session.service_account)

    def token() -> str:
        return token_of(session.target, choice, namespace=lambda: context_namespace(session.target))

    way = forward(session.target, place, port=port)
    with hub_at(way, token) as hub, ExitStack() as stack:
        url = _address(hub, path)
        print(url, flush=True)
        if browser and _has_screen():
            file = _way_on(url)
            if not place.url:
                stack.callback(shutil.rmtree, file.parent, ignore_errors=True)
            webbrowser.open(file.as_uri())
        if place.url:
            return 0  # the file stays: nobody says when a browser has read it, and its code is over in a minute
        return _stay(way, lambda: print(_address(hub, path), flush=True))


def _address(hub: Hub, path: str) -> str:
    """With a fresh code in it; without one where there is no token to get it for, and that is said."""
    try:
        code = hub.login_code()
    except NoToken as error:
        print(f"note: the page will ask for a token: {error}", file=sys.stderr)
        print(f"hint: {error.hint}", file=sys.stderr)
        code = None
    except NotFound:
        print("note: the hub is older than this program: its page will ask for a token", file=sys.stderr)
        code = None
    if code is None:
        return hub.url + path
    return f"{hub.url}/login?{urlencode({'code': code, 'next': path})}"


def _way_on(url: str) -> Path:
    """A file that leads a browser to the address, for its owner alone."""
    file = Path(tempfile.mkdtemp(prefix="ork-")) / "orkhaven.html"  # the folder is 0700
    file.touch(mode=0o600)
    file.write_text(_WAY_ON.format(url=escape(url)))
    return file


def _stay(way: Forward, again: Callable[[], None]) -> int:
    """Until Ctrl-C; at a terminal Enter prints a new address."""
    ended = threading.Event()

    def watch() -> None:
        way.wait()
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    typed = sys.stdin.isatty()
    more = "; Enter prints a new address: each logs in once, within a minute" if typed else ""
    print(f"forwarding until Ctrl-C{more}", file=sys.stderr, flush=True)
    try:
        while not ended.wait(0 if typed else None):
            if select.select([sys.stdin], [], [], 0.5)[0]:
                if sys.stdin.readline():
                    again()
                else:
                    typed = False
    except KeyboardInterrupt:
        return 0
    print("error: the forwarding has ended: the hub's pod is gone, or the cluster is", file=sys.stderr)
    return 1


def _has_screen() -> bool:
    """Whether a browser that opens would be seen: over ssh it would run on the other machine, as text."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
