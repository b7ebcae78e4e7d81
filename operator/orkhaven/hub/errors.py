"""Errors that a client sees: {"error": {"code", "message", "where"}}, the same shape everywhere."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse


class HttpError(Exception):
    """Answered as it stands. `code` is for programs, `message` says what is wrong and what would be right."""

    def __init__(
        self, status: int, code: str, message: str, *, where: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.where = where
        self.retry_after = retry_after

    def response(self) -> JSONResponse:
        headers = {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return JSONResponse(
            error_body(self.code, self.message, where=self.where), status_code=self.status, headers=headers
        )


def error_body(code: str, message: str, *, where: str | None = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "where": where}}


def unavailable(message: str) -> HttpError:
    """503: the same request may succeed later."""
    return HttpError(503, "Unavailable", message, retry_after=2)
