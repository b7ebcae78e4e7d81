"""The hub's `/api/v1`: what the status of a resource cannot answer. Through `kubectl port-forward`, or by a URL.

The token goes into a header and nowhere else, and over plain HTTP only to this machine or inside the cluster.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orkhaven.client.child import Child, ChildFailed
from orkhaven.client.connect import SERVICE_ACCOUNT, Target, in_pod
from orkhaven.client.errors import Forbidden, Invalid, NoHub, NoKubectl, NotFound, OrkhavenError
from orkhaven.client.http import httpx
from orkhaven.client.kube import _split

ENV_HUB = "ORKHAVEN_HUB"
DEFAULT = "orkhaven-system/orkhaven-hub"
PAGE = 1000

HOW = (
    f"is it installed there (kubectl get service -n orkhaven-system)? Elsewhere: {ENV_HUB}=namespace/service, or "
    f"{ENV_HUB}=https://... where it has an address"
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the hub is: a Service to forward to, or a URL."""

    namespace: str = ""
    service: str = ""
    url: str = ""

    @classmethod
    def parse(cls, text: str) -> Place:
        """Of "namespace/service" or a URL. Raises Invalid."""
        if "://" in text:
            _refuse_open_http(text)
            return cls(url=text.rstrip("/"))
        namespace, slash, service = text.partition("/")
        if not (slash and namespace and service) or "/" in service:
            raise Invalid(f"{ENV_HUB}: {text!r} is neither namespace/service (such as {DEFAULT}) nor a URL")
        return cls(namespace, service)


def _refuse_open_http(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    inside = host in ("localhost", "127.0.0.1", "::1") or host.endswith((".svc", ".svc.cluster.local"))
    if parts.scheme == "http" and not inside:
        raise Invalid(f"{ENV_HUB}: {url} would carry your token unencrypted over the network; use https://")
    if parts.scheme not in ("http", "https") or not host:
        raise Invalid(f"{ENV_HUB}: {url!r} is no http(s) URL")


@dataclass(slots=True)
class Forward:
    """An open way to the hub."""

    url: str
    close: Callable[[], None] = lambda: None
    wait: Callable[[], None] = lambda: None
    """Returns when the way has closed by itself."""


def forward(target: Target, place: Place, *, port: int = 0, env: Mapping[str, str] = os.environ) -> Forward:
    """Raises NoHub, NoKubectl."""
    if place.url:
        return Forward(place.url)
    command = ["port-forward", "--namespace", place.namespace, f"service/{place.service}", f"{port or ''}:80"]
    try:
        command = target.kubectl(*command, "--address", "127.0.0.1")
    except NoKubectl:
        if in_pod(env):
            return Forward(f"http://{place.service}.{place.namespace}.svc")
        raise
    try:
        child = Child.start(command, ready=r"127\.0\.0\.1:(\d+)")
    except ChildFailed as error:
        said = str(error).strip().splitlines()
        why = re.sub(r"^(error: |Error from server( \(\w+\))?: )+", "", said[-1]) if said else "it says nothing"
        hint = HOW
        if "is forbidden" in why or "cannot" in why:
            hint = (
                f"an administrator can let you through: kubectl create rolebinding NAME -n {place.namespace} "
                f"--role={place.service}-forward --user=YOU (or --group, --serviceaccount)"
            )
        raise NoHub(f"the hub {place.namespace}/{place.service} cannot be reached: {why}", hint=hint) from error
    assert child.ready is not None
    return Forward(f"http://127.0.0.1:{child.ready[1]}", child.stop, child.wait)


class Hub:
    """Requests with the user's token. Close it, or use it in a `with`."""

    def __init__(
        self, http: httpx.Client, token: Callable[[], str], *, on_close: Callable[[], None] = lambda: None
    ) -> None:
        self._http = http
        self._token = token
        self._on_close = on_close
        self._known: str | None = None

    def __enter__(self) -> Hub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()
        self._on_close()

    @property
    def url(self) -> str:
        return str(self._http.base_url).rstrip("/")

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path below /api/v1/namespaces. Parameters that are None are left out."""
        answer = self._request("GET", f"/api/v1/namespaces/{path}", _query(query))
        return answer.json()

    def get_all(self, path: str, **query: Any) -> Any:
        """The JSON at a path below /api/v1 that is of all namespaces."""
        answer = self._request("GET", f"/api/v1/{path}", _query(query))
        return answer.json()

    def pages(self, path: str, *, limit: int = PAGE, most: int | None = None, **query: Any) -> Iterator[dict[str, Any]]:
        """Items of a list, page by page, at most `most`."""
        left = most
        cursor: str | None = None
        while left is None or left > 0:
            page = self.get(path, limit=min(limit, left or limit), cursor=cursor, **query)
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page.get("next")
            if cursor is None:
                return

    def lines(self, path: str, **query: Any) -> Iterator[str]:
        """Lines of a text that may go on."""
        try:
            with self._http.stream(
                "GET",
                f"/api/v1/namespaces/{path}",
                params=_query(query),
                headers=self._headers(),
                timeout=httpx.Timeout(10, read=None),
            ) as answer:
                if answer.status_code >= 300:
                    answer.read()
                    raise _refusal(answer)
                yield from _split(answer.iter_bytes())
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def version(self) -> str:
        """Of the hub, out of the description of its API, which needs no token."""
        try:
            return str(self._http.get("/openapi.json", timeout=10).json()["info"]["version"])
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise self._unreachable(error) from error

    def login_code(self) -> str | None:
        """A code that logs a browser in as this user, once, within a minute: `/login?code=...`. None where the hub is
        open to all. Raises NoToken, Forbidden, NoHub.
        """
        answer = self._request("POST", "/login/code", httpx.QueryParams())
        return None if answer.status_code == 204 else str(answer.json()["code"])

    def _request(self, method: str, path: str, query: httpx.QueryParams) -> httpx.Response:
        try:
            answer = self._http.request(method, path, params=query, headers=self._headers(), timeout=60)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if answer.status_code >= 300:
            raise _refusal(answer)
        return answer

    def _headers(self) -> dict[str, str]:
        if self._known is None:
            self._known = self._token()
        return {"Authorization": f"Bearer {self._known}"}

    def _unreachable(self, error: Exception) -> NoHub:
        return NoHub(f"no answer from the hub: {error or type(error).__name__}", hint=HOW)


def _query(given: Mapping[str, Any]) -> httpx.QueryParams:
    """None is left out, a list is repeated."""
    pairs: list[tuple[str, str]] = []
    for name, value in given.items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += [(name, str(one).lower() if isinstance(one, bool) else str(one)) for one in values if one is not None]
    return httpx.QueryParams(tuple(pairs))


def _refusal(answer: httpx.Response) -> OrkhavenError:
    try:
        error = answer.json()["error"]
        message, where = str(error["message"]), error.get("where")
    except (ValueError, KeyError, TypeError):
        message, where = answer.text.strip()[:300] or f"HTTP {answer.status_code}", None
    text = f"{where}: {message}" if where and not where.startswith("header") else message
    if answer.status_code in (401, 403):
        return Forbidden(f"the hub refuses: {text}", hint="it shows what `kubectl get experiments` would show you")
    if answer.status_code == 404:
        return NotFound(text)
    if answer.status_code in (400, 422):
        return Invalid(text)
    return NoHub(f"the hub answers {answer.status_code}: {text}")


def open_hub(
    target: Target,
    token: Callable[[], str],
    *,
    place: str | None = None,
    env: Mapping[str, str] = os.environ,
    account: Path = SERVICE_ACCOUNT,
) -> Hub:
    """Raises NoHub, NoKubectl, Invalid."""
    return hub_at(forward(target, Place.parse(place or env.get(ENV_HUB) or DEFAULT), env=env), token)


def hub_at(way: Forward, token: Callable[[], str]) -> Hub:
    """The hub at the end of an open way, which is closed with it."""
    # A proxy of the environment is for addresses beyond this machine.
    return Hub(httpx.Client(base_url=way.url, trust_env=way.url.startswith("https:")), token, on_close=way.close)
