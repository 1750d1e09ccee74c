"""Marked step boundaries: where a service says which step it has just done. Pure.

Nothing stands there but in the local stack, where `faults` can end the process at any of them, to prove that
every crash ends well.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Checkpoint", "no_checkpoint"]

type Checkpoint = Callable[[str], None]


def no_checkpoint(_: str) -> None:
    """The step is done; go on."""
