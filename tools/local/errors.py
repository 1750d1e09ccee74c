"""What can go wrong on a laptop, in words that say what to do."""


class LocalError(Exception):
    """Shown to the user as one sentence, without a stack trace."""
