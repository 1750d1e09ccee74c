"""What notify does with a batch of changes of jobs: free slots first, then derive webhook events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.webhooks.model import JobChange


@dataclass(frozen=True, slots=True)
class ChangeHandler:
    """Two handlers of the same changes, of which neither keeps the other from its work.

    Each returns the index of the first change to retry, or None. Both may be given a change again.
    """

    release_slots: Callable[[Sequence[JobChange]], int | None]
    notify: Callable[[Sequence[JobChange]], int | None]

    def handle(self, changes: Sequence[JobChange]) -> int | None:
        """Return the index of the first change that one of them has to retry, or None."""
        results = (self.release_slots(changes), self.notify(changes))
        return min((index for index in results if index is not None), default=None)
