"""Errors of the local stack's commands."""


class LocalError(Exception):
    """A failed command. The message says what to do; it is shown without a stack trace."""
