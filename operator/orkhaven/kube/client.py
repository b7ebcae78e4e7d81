"""One HTTP request to the API server: credentials, timeouts, retries of what was refused unseen, errors as `errors`.

Uses `kubernetes.aio` for its configuration and connection; its typed models are left alone (2.3 ms of CPU each call
against 1.2 ms for dicts).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import json
import logging
import random
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.rest import RESTClientObject

from orkhaven import __version__
from orkhaven.errors import AlreadyExists, ApiError, Conflict, Forbidden, Gone, Invalid, NotFound, Unavailable

log = logging.getLogger(__name__)

Body = dict[str, Any]
OnCall = Callable[[str, str, str, float], None]
"""Told of every attempt: verb, plural of the resource, code (HTTP status or a word), seconds."""

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
JSON = "application/json"

CONNECT_TIMEOUT = 5.0
"""Seconds. An API server that does not even take the connection is away; waiting longer only delays the next try."""
THROTTLED_TRIES = 4
"""Requests answered 429 were not executed, so repeating them is safe; more than this and the caller backs off."""
BYTES_BUFFER = 64 * 1024
"""Of one log that is followed: aiohttp stops reading at twice as much, and the sender waits. 2 MiB, as for the other
requests, would be 800 MB for 200 logs.
"""
LONGEST_RETRY_AFTER = 10.0
"""Seconds. A longer wish is left to the caller's back-off: a worker must not sleep through it."""

_ADDRESS = (
    "host",
    "ssl_ca_cert",
    "ca_cert_data",
    "verify_ssl",
    "disable_strict_ssl_verification",
    "assert_hostname",
    "tls_server_name",
    "proxy",
    "proxy_headers",
    "connection_pool_maxsize",
)
"""What of a Configuration says where the server is and how it is recognised, and nothing of who asks."""


class ByteStream:
    """An answer's bytes as they come. A `read` that is cancelled loses nothing; the next one goes on."""

    def __init__(self, path: str, response: aiohttp.ClientResponse) -> None:
        self._path = path
        self._response = response

    async def read(self) -> bytes:
        """What has arrived, at least one byte; empty at the end. Raises Unavailable where the connection broke."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"GET {self._path}: the stream broke: {str(error) or type(error).__name__}") from error


class Client:
    """A connection. Made by `login.connect`; to be closed."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        reload: Callable[[Configuration], Any] | None = None,
        on_call: OnCall | None = None,
        seconds: float = 30.0,
    ) -> None:
        self.configuration = configuration
        _settle_proxy(configuration)
        self._reload = reload
        self._on_call = on_call
        self._timeout = seconds
        self._anonymous: Client | None = None
        self._api = ApiClient(configuration)
        self._api.user_agent = f"orkhaven/{__version__}"
        self._byte_streams: RESTClientObject | None = None

    @property
    def server(self) -> str:
        return str(self.configuration.host)

    async def close(self) -> None:
        if self._byte_streams is not None:
            await self._byte_streams.close()
        if self._anonymous is not None:
            await self._anonymous.close()
        await self._api.close()

    def anonymous(self) -> Client:
        """To the same server without credentials, for requests that bring a token of their own.

        Its own connections: one of ours may have shown a client certificate, which the API server would believe
        before any token. Closed with this one.
        """
        if self._anonymous is None:
            bare = Configuration()
            for name in _ADDRESS:
                setattr(bare, name, getattr(self.configuration, name))
            self._anonymous = Client(bare, on_call=self._on_call, seconds=self._timeout)
        return self._anonymous

    async def request(
        self,
        method: str,
        path: str,
        *,
        verb: str,
        resource: str,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        content_type: str = JSON,
        seconds: float | None = None,
        token: str | None = None,
    ) -> Body:
        """The answer's JSON. Raises `errors.ApiError`; a 429 is waited for, a 401 tried again after a new login.

        With `token` it is asked as whoever that belongs to: only for a client that is `anonymous` otherwise.
        """
        refreshed = False
        throttled = 0
        while True:
            started = time.monotonic()
            code = "unavailable"
            try:
                status, headers, data = await self._once(
                    method,
                    path,
                    query=query,
                    body=body,
                    content_type=content_type,
                    seconds=seconds or self._timeout,
                    token=token,
                )
                code = str(status)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                what = str(error) or type(error).__name__
                raise Unavailable(f"{method} {path}: no answer from {self.server}: {what}") from error
            finally:
                if self._on_call is not None:
                    self._on_call(verb, resource, code, time.monotonic() - started)
            if 200 <= status < 300:
                return _parse(data)
            if status == 401 and self._reload is not None and not refreshed:
                refreshed = True
                await _maybe_await(self._reload(self.configuration))
                continue
            if status == 429 and throttled < THROTTLED_TRIES:
                wait = _retry_after(headers)
                if wait <= LONGEST_RETRY_AFTER:
                    throttled += 1
                    # Jitter: all workers were refused at the same moment.
                    await asyncio.sleep(wait * (1 + random.random() / 2))
                    continue
            raise _error(f"{method} {path}", status, data, headers)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        verb: str,
        resource: str,
        query: Mapping[str, str],
        idle_seconds: float,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """An answer that has no end, as its lines; entered as soon as the server has begun it.

        Raises `errors.ApiError` where it is refused, and, out of the lines, Unavailable where it breaks or says nothing
        for `idle_seconds`. An end by the server itself is just the end of the lines.
        """
        rest = self._api.rest_client
        open_ = functools.partial(self._open, rest, path, query, accept=JSON, idle_seconds=idle_seconds)
        async with self._answer(open_, path, verb=verb, resource=resource) as response:
            yield _lines(path, response)

    @contextlib.asynccontextmanager
    async def stream_bytes(
        self, path: str, *, verb: str, resource: str, query: Mapping[str, str]
    ) -> AsyncIterator[ByteStream]:
        """An answer that is no JSON and may have no end. Raises `errors.ApiError` where it is refused.

        Has connections of its own: two hundred of these must not take the pool from everybody else.
        """
        if self._byte_streams is None:
            own = copy.copy(self.configuration)
            own.connection_pool_maxsize = 0  # aiohttp's word for no limit
            own.client_session_kwargs = {
                **own.client_session_kwargs,
                "read_bufsize": BYTES_BUFFER,
                "auto_decompress": False,
            }
            self._byte_streams = RESTClientObject(own)
        # The kubelet answers at once, but the API server first has to reach it.
        open_ = functools.partial(self._open, self._byte_streams, path, query, accept="*/*", seconds=self._timeout)
        async with self._answer(open_, path, verb=verb, resource=resource) as response:
            yield ByteStream(path, response)

    @contextlib.asynccontextmanager
    async def _answer(
        self, open_: Callable[[], Awaitable[aiohttp.ClientResponse]], path: str, *, verb: str, resource: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One that has begun with 200, the credentials read again once where they were refused."""
        refreshed = False
        while True:
            started = time.monotonic()
            code = "unavailable"
            try:
                response = await open_()
                code = str(response.status)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                what = str(error) or type(error).__name__
                raise Unavailable(f"GET {path}: no answer from {self.server}: {what}") from error
            finally:
                if self._on_call is not None:
                    self._on_call(verb, resource, code, time.monotonic() - started)
            try:
                if response.status == 401 and self._reload is not None and not refreshed:
                    refreshed = True
                    await _maybe_await(self._reload(self.configuration))
                    continue
                if response.status != 200:
                    raise _error(f"GET {path}", response.status, await response.read(), response.headers)
                yield response
                return
            finally:
                # Not release(): that would wait for the rest of an answer without end.
                response.close()

    async def _open(
        self,
        rest: RESTClientObject,
        path: str,
        query: Mapping[str, str],
        *,
        accept: str,
        idle_seconds: float | None = None,
        seconds: float | None = None,
    ) -> aiohttp.ClientResponse:
        """`seconds`: until the answer begins; `idle_seconds`: between two pieces of it, the first included."""
        _, url, headers, _, _ = await self._api.param_serialize(
            "GET",
            path,
            query_params=list(query.items()),
            header_params={"Accept": accept},
            auth_settings=["BearerToken"],
        )
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=idle_seconds)
        async with asyncio.timeout(seconds):
            answer = await rest.request("GET", url, headers=headers, _request_timeout=timeout)
        response: aiohttp.ClientResponse = answer.response
        return response

    async def _once(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        body: Body | None,
        content_type: str,
        seconds: float,
        token: str | None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        _, url, headers, _, _ = await self._api.param_serialize(
            method,
            path,
            query_params=list(query.items()) if query else None,
            header_params={"Content-Type": content_type, "Accept": JSON},
            auth_settings=["BearerToken"] if token is None else [],
        )
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        # The body goes in here and not above: there every value would be walked through and copied first.
        response = await self._api.rest_client.request(
            method,
            url,
            headers=headers,
            body=body,
            _request_timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_TIMEOUT),
        )
        return response.status, response.headers, await response.read()


def _settle_proxy(configuration: Configuration) -> None:
    """Looks the environment's proxy up once. aiohttp would read the environment and ~/.netrc in a thread for each
    request, which was a tenth of the operator's CPU time."""
    configuration.client_session_kwargs = {"trust_env": False}
    address = urlsplit(configuration.host)
    if configuration.proxy is None and address.hostname and not urllib.request.proxy_bypass(address.netloc):
        configuration.proxy = urllib.request.getproxies().get(address.scheme)


async def _maybe_await(value: Any) -> None:
    if asyncio.iscoroutine(value):
        await value


async def _lines(path: str, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for line in response.content:
            yield line
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        # ValueError: a line longer than the buffer, 4 MB; the API server stores no object as large.
        raise Unavailable(f"GET {path}: the stream broke: {str(error) or type(error).__name__}") from error


def _parse(data: bytes) -> Body:
    try:
        body = json.loads(data) if data else {}
    except ValueError as error:
        raise Unavailable(f"the API server's answer is no JSON: {data[:200]!r}") from error
    if not isinstance(body, dict):
        raise Unavailable(f"the API server's answer is no JSON object: {data[:200]!r}")
    return body


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds; 1 where the header is missing or is a date."""
    try:
        return max(0.0, float(headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0


NO_SUCH_FIELD = "failed to create typed patch object"
"""A server-side apply of what the stored schema does not have, e.g. of a CRD older than the operator. A 500, but it
stays one until somebody changes the schema."""


def _error(call: str, status: int, data: bytes, headers: Mapping[str, str]) -> ApiError:
    reason, message = "", data[:500].decode("utf-8", "replace")
    try:
        body = json.loads(data)
        reason, message = str(body.get("reason") or ""), str(body.get("message") or message)
    except (ValueError, AttributeError):
        # Whatever stands between (a proxy, a load balancer) may answer with HTML; its text is the message then.
        pass
    text = f"{call}: {status} {message}"
    if status == 404:
        return NotFound(text, status=status)
    if status == 409:
        return (AlreadyExists if reason == "AlreadyExists" else Conflict)(text, status=status)
    if status == 410:
        return Gone(text, status=status)
    if status in (401, 403):
        return Forbidden(text, status=status)
    if status == 500 and NO_SUCH_FIELD in message:
        return Invalid(text, status=status)
    if status == 429 or status >= 500:
        return Unavailable(text, status=status, retry_after=_retry_after(headers) if status == 429 else None)
    return Invalid(text, status=status)
