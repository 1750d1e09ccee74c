"""The installed rules, the decision whether one fires, and the count of those that did."""

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

from tools.simulator.faults.rules import FaultRule
from tools.simulator.randomness import seeded


@dataclass(slots=True)
class _Entry:
    number: int
    rule: FaultRule
    rng: Random
    seen: int = 0
    fired: int = 0

    def fires(self) -> bool:
        """Decide for one more matching call; the n-th decision of a rule depends on the seed and n alone."""
        self.seen += 1
        lucky = self.rng.random() >= self.rule.probability
        if self.seen <= self.rule.after or lucky:
            return False
        if self.rule.times is not None and self.fired >= self.rule.times:
            return False
        self.fired += 1
        return True


class FaultBook:
    """Rules in the order of their installation; the first that fires wins."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._entries: list[_Entry] = []
        self._installed = 0
        self.fired: Counter[str] = Counter()

    def add(self, rule: FaultRule) -> int:
        """Install a rule; its number since start or reset."""
        self._installed += 1
        rng = seeded(self._seed, self._installed, rule.kind)
        self._entries.append(_Entry(self._installed, rule, rng))
        return self._installed

    def clear(self) -> None:
        """Remove the rules; the counts stay."""
        self._entries.clear()

    def reset(self) -> None:
        """Remove the rules and the counts, and start the numbering again."""
        self.clear()
        self.fired.clear()
        self._installed = 0

    def wants_text(self, endpoint: str) -> bool:
        """Whether a rule for the endpoint looks into the text of a call."""
        return any(entry.rule.contains and _covers(entry.rule, endpoint) for entry in self._entries)

    def draw(self, endpoint: str, *, text: str = "", event: str | None = None) -> FaultRule | None:
        """The rule that breaks this call, or None."""
        for entry in self._entries:
            rule = entry.rule
            if not _covers(rule, endpoint) or (rule.event is not None and rule.event != event):
                continue
            if rule.contains is not None and rule.contains not in text:
                continue
            if entry.fires():
                self.fired[rule.kind] += 1
                return rule
        return None

    def report(self) -> dict[str, Any]:
        """Rules with their counts, and the total of each kind since start or reset."""
        rules = [
            {"number": entry.number, "seen": entry.seen, "fired": entry.fired, **entry.rule.model_dump()}
            for entry in self._entries
        ]
        return {"rules": rules, "fired": dict(self.fired)}


def _covers(rule: FaultRule, endpoint: str) -> bool:
    return rule.endpoint == endpoint or (rule.endpoint == "any" and endpoint != "webhook")
