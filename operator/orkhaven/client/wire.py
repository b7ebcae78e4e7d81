"""HTTP to an API server with what Python brings along.

`import httpx` takes 0.2 s of a CPU, more than all else that `kubectl ork status` loads. What is asked of an API server
is simple: JSON, and lines that go on.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

CHUNK = 64 * 1024


def segment(text: str) -> str:
    """A name as one part of a path."""
    return quote(text, safe="")


class WireError(Exception):
    """No answer: nobody listens, the connection broke, or it took too long."""


class Answer:
    """What came back."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer
        self._body: bytes | None = None
        self.status_code = answer.status

    def read(self) -> bytes:
        if self._body is None:
            self._body = self._answer.read()
        return self._body

    def json(self) -> Any:
        """Raises ValueError."""
        return json.loads(self.read())

    @property
    def text(self) -> str:
        return self.read().decode(errors="replace")

    def iter_bytes(self) -> Iterator[bytes]:
        """As they come."""
        while chunk := self._answer.read1(CHUNK):
            yield chunk


class Wire:
    """A connection of its own for each request: the next hop is this machine, or the same cluster."""

    def __init__(
        self,
        connection: Callable[[float], http.client.HTTPConnection],
        *,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`connection`: makes one, not yet open, with this timeout. `headers`: of every request, asked each time."""
        self._connection = connection
        self._headers = headers

    def close(self) -> None:
        """Nothing is kept open between requests."""

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float,
    ) -> Answer:
        """The whole answer. Raises WireError."""
        with self._sent(method, path, params, content, headers, timeout) as (_, answer):
            answer.read()
            return answer

    @contextlib.contextmanager
    def stream(self, method: str, path: str, *, params: Mapping[str, str] | None, timeout: float) -> Iterator[Answer]:
        """An answer to be read as it comes. `timeout`: until it begins; how long it goes on is not limited."""
        with self._sent(method, path, params, None, None, timeout) as (connection, answer):
            if connection.sock is not None:
                connection.sock.settimeout(None)
            yield answer

    @contextlib.contextmanager
    def _sent(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        content: bytes | None,
        headers: Mapping[str, str] | None,
        timeout: float,
    ) -> Iterator[tuple[http.client.HTTPConnection, Answer]]:
        target = f"{path}?{urlencode(params)}" if params else path
        connection = self._connection(timeout)
        try:
            connection.request(method, target, content, {**self._headers(), **(headers or {})})
            yield connection, Answer(connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            raise WireError(str(error) or type(error).__name__) from error
        finally:
            connection.close()


class SocketConnection(http.client.HTTPConnection):
    """To a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
