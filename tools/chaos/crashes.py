"""Crashes at marked step boundaries: at rates that follow the count, until each was hit often enough."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_proxy.testing.checkpoints import CHECKPOINTS
from tools.chaos import mix

if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST_RATE = 0.03
_HIGHEST_RATE = 0.8
_LOWEST_RATE = 0.01
_REST_RATE = 0.002
# Passes of the sweep are few and do much, so each of its boundaries must be struck more readily.
_FIRST_SWEEP_RATE = 0.15
# Few jobs come by there, and each but once: a pass that is spared is lost.
_RARE = {
    "sweep.acceptance_stored": 0.5,
    "dispatch.check_postponed": 0.1,
    "ingest.cancel_request_stored": 0.4,
    "dispatch.before_cancel": 0.2,
    "dispatch.prediction_canceled": 0.4,
}
_FASTER, _SLOWER = 1.15, 0.9
# A crash there is what makes the sweep pass another one, `sweep.unknown_outcome_stored`.
_TIMES_WANTED = {"dispatch.job_claimed": 2}
# Ahead of time, so that the last boundaries are not left to the last jobs.
_HEAD_START = 1.25


@dataclass
class Crashes:
    """Writes the faults file of a stack, and counts what struck. `wanted`: hits per boundary. From the share
    `relents_at` of jobs that are over the last ones are spared: few as they are, crash upon crash would
    strike the same.
    """

    file: Path
    log: Path
    wanted: int
    relents_at: float = 1.0
    rates: dict[str, float] = field(default_factory=dict)

    def begin(self) -> None:
        self.log.unlink(missing_ok=True)
        self.rates = {name: _first_rate(name) for name in CHECKPOINTS}
        self._write()

    def steer(self, *, accepted: float, over: float) -> None:
        """Sets each boundary's rate by its hits and the share of the jobs that are past it.

        Jobs pass ingest long before they are over.
        """
        hits = self.hits()
        for name, rate in self.rates.items():
            progress = accepted if name.startswith("ingest.") else over
            wanted = self.wanted * _TIMES_WANTED.get(name, 1)
            expected = wanted * min(1.0, progress * _HEAD_START)
            if hits[name] >= wanted or over >= self.relents_at:
                self.rates[name] = _REST_RATE
            elif hits[name] + 1 <= expected:
                self.rates[name] = min(rate * _FASTER, _HIGHEST_RATE)
            else:
                self.rates[name] = max(rate * _SLOWER, _RARE.get(name, _LOWEST_RATE))
        self._write()

    def end(self) -> None:
        """From now on nothing breaks; the log stays."""
        self.file.unlink(missing_ok=True)

    def hits(self) -> Counter[str]:
        """Crashes by boundary."""
        return Counter({name: count for (kind, name), count in self._struck().items() if kind == "crash"})

    def aws(self) -> Counter[str]:
        """Broken AWS calls by report name."""
        words = {"aws_rejected": "refused", "aws_response_lost": "answer lost"}
        return Counter(
            {
                f"{name} {words[kind]}": count
                for (kind, name), count in self._struck().items()
                if kind in words
            }
        )

    def _struck(self) -> Counter[tuple[str, str]]:
        if not self.log.exists():
            return Counter()
        lines = self.log.read_text("utf-8").splitlines()
        entries: list[Mapping[str, str]] = [json.loads(line) for line in lines]
        return Counter((entry["kind"], entry["name"]) for entry in entries)

    def _write(self) -> None:
        said = {
            "crash": self.rates,
            "aws_rejected": mix.AWS.refused,
            "aws_response_lost": mix.AWS.unanswered,
            "aws_exempt_functions": mix.SPARED,
            "log": str(self.log),
        }
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps(said), encoding="utf-8")
        temporary.replace(self.file)


def _first_rate(name: str) -> float:
    return _RARE.get(name, _FIRST_SWEEP_RATE if name.startswith("sweep.") else _FIRST_RATE)
