"""Errors of a release."""


class ReleaseError(Exception):
    """A release that cannot go on. The message says what to do; it is shown without a stack trace."""


class CommandError(ReleaseError):
    """A command of the release failed; it has printed why."""
