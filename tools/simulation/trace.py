"""What happened in a run, step by step, and its hash: two runs are the same if their hashes are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

# Hashing many steps at once takes less time.
_HASHED_STEPS = 256


@dataclass(frozen=True, slots=True)
class Step:
    """One call of one actor; `choice` is the fault that was chosen for it, if any."""

    at: float
    actor: str
    text: str
    choice: str


class Trace:
    """Hashes every step, and keeps the steps if asked to."""

    def __init__(self, *, keeps_steps: bool = False) -> None:
        self.steps: list[Step] = []
        self.count = 0
        self.keeps_steps = keeps_steps
        self._hash = hashlib.blake2b(digest_size=8)
        self._unhashed: list[str] = []

    def add(self, at: float, actor: str, text: str, choice: str = "") -> None:
        """Add a step that counts for the hash."""
        self.count += 1
        self._unhashed.append(f"{at:.6f} {actor} {text} {choice}\n")
        if len(self._unhashed) >= _HASHED_STEPS:
            self._update_hash()
        if self.keeps_steps:
            self.steps.append(Step(at, actor, text, choice))

    def remark(self, at: float, actor: str, text: str) -> None:
        """Add an explanation that does not count for the hash."""
        if self.keeps_steps:
            self.steps.append(Step(at, actor, f"  {text}", ""))

    @property
    def hash(self) -> str:
        self._update_hash()
        return self._hash.hexdigest()

    def _update_hash(self) -> None:
        self._hash.update("".join(self._unhashed).encode())
        self._unhashed.clear()

    def format(self, *, start: float, last: int | None = None) -> str:
        """Return the steps as lines: time since the start, actor, step, choice."""
        steps = self.steps if last is None else self.steps[-last:]
        return "\n".join(
            f"{step.at - start:>12.3f}  {step.actor:<16} {step.text}"
            + (f"   ◀ {step.choice}" if step.choice else "")
            for step in steps
        )
