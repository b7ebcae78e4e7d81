"""Who sits before the browser: logins kept in this process, and the token that proves a form came from our own page.

A Kubernetes token never leaves the server again once it is taken: the browser holds a random name for it in a cookie
that scripts cannot read. Logins are of one process: they end with it, and several replicas need session affinity.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

_COOKIE = "orkhaven_session"
LIFETIME = 8 * 3600.0
"""Seconds from login to logout: a working day. A token that expires earlier is refused by the API server earlier."""
IDLE = 2 * 3600.0
"""Seconds without a request after which a login is forgotten. An open page's stream of events counts as use."""
MAX_SESSIONS = 2_000
"""About 2 KB each. The one unused for longest goes first."""
CODE_LIFETIME = 60.0
"""Seconds within which a one-time code is exchanged for a login: a browser that starts cold takes a few."""
MAX_CODES = 200


def cookie_name(port: int | None) -> str:
    """A browser sends a cookie to all ports of a host: two clusters' hubs, each forwarded to 127.0.0.1, would log each
    other out. `port`: of the address that the browser asked; None: the scheme's own.
    """
    return _COOKIE if port is None else f"{_COOKIE}_{port}"


@dataclass(slots=True)
class _Login:
    token: str = field(repr=False)
    username: str
    ends: float
    used: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """Whoever asks for a page. Without a token only where the hub is open to all (settings: read_auth)."""

    token: str | None = field(repr=False)
    username: str
    csrf: str = field(repr=False)
    session: str | None = field(default=None, repr=False)
    """The cookie's value; None for a bearer header."""

    @property
    def authorization(self) -> str | None:
        """As a header, for `ReadAuthorizer`."""
        return None if self.token is None else f"Bearer {self.token}"


class Sessions:
    """Of one event loop."""

    def __init__(self, *, clock: Callable[[], float], size: int = MAX_SESSIONS) -> None:
        self._clock = clock
        self._size = size
        self._logins: OrderedDict[bytes, _Login] = OrderedDict()
        self._secret = secrets.token_bytes(32)

    def __len__(self) -> int:
        return len(self._logins)

    def open(self, token: str, username: str) -> str:
        """A new login; the value of its cookie."""
        name = secrets.token_urlsafe(32)
        now = self._clock()
        self._logins[_digest(name)] = _Login(token, username, ends=now + LIFETIME, used=now)
        while len(self._logins) > self._size:
            self._logins.popitem(last=False)
        return name

    def find(self, name: str) -> Viewer | None:
        """The login of this cookie, if it still holds. Counts as use."""
        key = _digest(name)
        login = self._logins.get(key)
        if login is None:
            return None
        now = self._clock()
        if now >= login.ends or now - login.used >= IDLE:
            del self._logins[key]
            return None
        login.used = now
        self._logins.move_to_end(key)
        return Viewer(token=login.token, username=login.username, csrf=self.csrf_for(name), session=name)

    def close(self, name: str) -> None:
        self._logins.pop(_digest(name), None)

    def csrf_for(self, who: str) -> str:
        """What a form of this session (or of this bearer token) has to send along. Says nothing about `who`."""
        return hmac.new(self._secret, who.encode(), hashlib.sha256).hexdigest()

    def is_csrf_of(self, viewer: Viewer, sent: str) -> bool:
        return hmac.compare_digest(viewer.csrf.encode(), sent.encode())


@dataclass(slots=True)
class _Code:
    token: str = field(repr=False)
    username: str
    ends: float
    opened: str | None = field(default=None, repr=False)
    """The cookie of the login that it was exchanged for."""


class Codes:
    """One-time codes, by which `kubectl ork dashboard` opens a browser that is logged in. Of one event loop.

    A code stands in an address, and an address is seen: in the list of processes, in a history. So it is good once, for
    a minute, in this process; and whoever comes second with it ends the login of whoever came first: one of the two is
    a thief, and the person notices.
    """

    def __init__(self, sessions: Sessions, *, clock: Callable[[], float], size: int = MAX_CODES) -> None:
        self._sessions = sessions
        self._clock = clock
        self._size = size
        self._codes: OrderedDict[bytes, _Code] = OrderedDict()

    def make(self, token: str, username: str) -> str:
        """A new code for the login of whoever holds this token."""
        self._forget()
        code = secrets.token_urlsafe(32)
        self._codes[_digest(code)] = _Code(token, username, ends=self._clock() + CODE_LIFETIME)
        while len(self._codes) > self._size:
            self._codes.popitem(last=False)
        return code

    def exchange(self, code: str) -> str | None:
        """The cookie of a new login. None: unknown, too old or used; the login of a used one is closed."""
        self._forget()
        found = self._codes.get(_digest(code))
        if found is None:
            return None
        if found.opened is not None:
            self._sessions.close(found.opened)
            return None
        found.opened = self._sessions.open(found.token, found.username)
        found.token = ""
        return found.opened

    def _forget(self) -> None:
        """Those that are over; the oldest stand first."""
        now = self._clock()
        while self._codes and next(iter(self._codes.values())).ends <= now:
            self._codes.popitem(last=False)


def _digest(name: str) -> bytes:
    """So that a look into the memory or a timing of the lookup gives no cookie away."""
    return hashlib.sha256(name.encode()).digest()
