"""Reproducible randomness, for pictures, words, delays and faults; it protects nothing."""

from random import Random


def seeded(*parts: object) -> Random:
    """A generator that always gives the same for the same parts."""
    return Random(":".join(str(part) for part in parts))  # noqa: S311 - must be reproducible, guards no secret
