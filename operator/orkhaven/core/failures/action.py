"""What a rule that a user has written wants done about a failure."""

from orkhaven.api.failures import Action

__all__ = ["Action"]
