"""What a call to the API server can end in. A leaf: kube raises them, engine and hub decide.

One small set, so that a caller writes `except Conflict`, never `if status == 409`.
"""

from __future__ import annotations


class ApiError(Exception):
    """A call did not do what was asked. The text says which call and what the server said."""

    code: str = "error"
    """For logs and metrics: the HTTP status, or one word where there was none."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        if status is not None:
            self.code = str(status)


class NotFound(ApiError):
    """404: the object, or its whole kind, does not exist."""


class Conflict(ApiError):
    """409: the object changed since it was read, or it is a namesake. Read it again and decide anew."""


class AlreadyExists(Conflict):
    """409 on create: the name is taken by an object of another owner."""


class Gone(ApiError):
    """410: a list's continue token has expired. Start the list again."""


class Invalid(ApiError):
    """400 or 422: the server refuses the body, and will again. The text has the field's path."""


class Forbidden(ApiError):
    """401 or 403: the credentials do not allow it (RBAC), or a quota does not."""


class Unavailable(ApiError):
    """429, 5xx, a timeout or no connection. Whether a write took effect is unknown; repeating it has to be harmless."""

    code = "unavailable"

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after
        """Seconds that the server asked to wait."""


class LeaseLost(ApiError):
    """Refused on this side: another operator may hold the lease by now, so nothing is written."""

    code = "lease-lost"
