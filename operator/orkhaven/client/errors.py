"""What can go wrong between a person and the cluster, each with a sentence about what to do. A leaf: no imports."""

from __future__ import annotations


class OrkhavenError(Exception):
    """Something did not work. The text says what; `hint` what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class NoKubectl(OrkhavenError):
    """There is no kubectl, and this is no pod with a service account either."""


class NoCluster(OrkhavenError):
    """The API server cannot be reached, or no cluster is configured."""


class NotFound(OrkhavenError):
    """The object is not there."""


class NotInstalled(NotFound):
    """The whole kind is not there: Orkhaven's CRDs are not in this cluster."""


class Forbidden(OrkhavenError):
    """401 or 403: the credentials do not allow it."""


class Invalid(OrkhavenError):
    """A wrong file, a wrong name, a spec that the API server refuses."""


class Conflict(OrkhavenError):
    """Somebody else's change is in the way."""


class NoHub(OrkhavenError):
    """The hub cannot be reached."""


class NoToken(OrkhavenError):
    """The hub wants a token, and this user has none (a client certificate is none)."""


class TimedOut(OrkhavenError):
    """What was waited for did not happen in time."""


class MissingPackage(OrkhavenError):
    """pandas or matplotlib is not installed."""
