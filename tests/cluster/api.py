"""A small client of the API server: JSON over HTTPS with a client certificate. Standard library only.

The tool asks many small questions while it waits; starting kubectl for each would take longer than the answers.
"""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.cluster.say import ClusterError


class ApiError(ClusterError):
    """The API server answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Api:
    """Requests to one API server; each opens its own connection, so that a restart of the server breaks nothing."""

    def __init__(self, server: str, *, ca: Path, certificate: Path, key: Path) -> None:
        self.server = server
        self._host = urlsplit(server).netloc
        self.context = ssl.create_default_context(cafile=str(ca))
        """With the administrator's certificate."""
        self.context.load_cert_chain(certificate, key)

    def raw(self, method: str, path: str, body: Any = None, *, content: str = "application/json") -> tuple[int, str]:
        """Status code and text. Raises OSError where the server is not there."""
        connection = http.client.HTTPSConnection(self._host, context=self.context, timeout=60)
        try:
            payload = None if body is None else json.dumps(body).encode()
            connection.request(
                method, path, body=payload, headers={"Content-Type": content, "Accept": "application/json"}
            )
            response = connection.getresponse()
            return response.status, response.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None, *, content: str = "application/json") -> Any:
        """The answer, parsed. Raises ApiError for any status of 300 or more."""
        status, text = self.raw(method, path, body, content=content)
        if status >= 300:
            raise ApiError(status, f"{method} {path}: {status} {text.strip()}")
        return json.loads(text)

    def get(self, path: str) -> Any | None:
        """The answer, or None where the object is not there or the server does not answer."""
        try:
            return self.call("GET", path)
        except OSError:
            return None
        except ApiError as error:
            if error.status in (404, 429, 500, 503):
                return None
            raise

    def ready(self) -> bool:
        """Whether the server says that it is ready."""
        try:
            return self.raw("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def create(self, path: str, body: Any) -> None:
        """Creates an object; one that exists already is success."""
        try:
            self.call("POST", path, body)
        except ApiError as error:
            if error.status != 409:
                raise

    def patch(self, path: str, body: Any) -> Any:
        """A merge patch for an object, a JSON patch for a list."""
        kind = "json-patch+json" if isinstance(body, list) else "merge-patch+json"
        return self.call("PATCH", path, body, content=f"application/{kind}")
