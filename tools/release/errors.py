"""Why a release did not come about, in words that say what to do."""


class ReleaseError(Exception):
    """Shown to the operator as one sentence, without a stack trace."""


class CommandError(ReleaseError):
    """A program that the release needs failed; its own words stand above."""
