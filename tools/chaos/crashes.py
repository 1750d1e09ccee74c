"""Crash injection at checkpoints, with rates that are adjusted until each checkpoint had enough crashes."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_proxy.testing.checkpoints import CHECKPOINTS
from tools.chaos import faults
from tools.local.faults import write_faults

if TYPE_CHECKING:
    from collections.abc import Mapping

# What jobs pass on their way. Those of operators' actions, of large batches and of deletions have tests of
# their own.
_OTHER_CHECKPOINTS = (
    "admin.",
    "batch.",
    "ingest.batch_",
    "ingest.deletion_stored",
    "sweep.expired_job_marked",
    "sweep.objects_removed",
    "sweep.deliveries_removed",
)
PIPELINE_CHECKPOINTS = tuple(name for name in CHECKPOINTS if not name.startswith(_OTHER_CHECKPOINTS))
_INITIAL_RATE = 0.03
_MAX_RATE = 0.8
_MIN_RATE = 0.01
_SATISFIED_RATE = 0.002
# The sweep runs rarely and does much in each run, so its checkpoints need a higher rate.
_INITIAL_SWEEP_RATE = 0.15
# Minimum and initial rates of checkpoints that few jobs pass, each of them only once.
_RARE_CHECKPOINT_RATES = {
    "sweep.acceptance_stored": 0.5,
    "dispatch.check_postponed": 0.1,
    "ingest.cancel_request_stored": 0.4,
    "dispatch.before_cancel": 0.2,
    "dispatch.prediction_canceled": 0.4,
}
_INCREASE_FACTOR, _DECREASE_FACTOR = 1.15, 0.9
# A crash at this checkpoint is what makes the sweep pass `sweep.unknown_outcome_stored`.
_WANTED_FACTORS = {"dispatch.job_claimed": 2}
# Crashes are due this much ahead of the jobs, so that the last checkpoints do not depend on the last jobs.
_PROGRESS_FACTOR = 1.25
_JOBS_PER_CRASH = 50
# From this size on, a checkpoint that was hit too rarely means that the injection is broken, not unlucky.
_MIN_JOBS_FOR_FULL_COUNT = 1000
_AWS_FAULT_NAMES = {"aws_rejected": "rejected", "aws_response_lost": "response lost"}


def count_wanted_crashes(job_count: int) -> int:
    """Return how many crashes at each checkpoint a run of this many jobs aims at: 20 for 1,000 jobs."""
    return -(-job_count // _JOBS_PER_CRASH)


def count_required_crashes(job_count: int) -> int:
    """Return how many crashes at each checkpoint a run must have had to prove anything.

    A small run aims at few crashes, and chance decides over each: half of them are enough.
    """
    wanted = count_wanted_crashes(job_count)
    return wanted if job_count >= _MIN_JOBS_FOR_FULL_COUNT else wanted // 2


@dataclass
class CrashInjector:
    """Writes the faults file of a stack and counts the faults that its functions logged.

    `wanted` is the number of crashes per checkpoint that the rates aim at. Once the share `stop_at_share`
    of the jobs has finished, crashes become rare: otherwise the same few jobs would be hit again and again.
    """

    faults_file: Path
    log_file: Path
    wanted: int
    stop_at_share: float = 1.0
    rates: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Enable the faults and start counting from zero."""
        self.log_file.unlink(missing_ok=True)
        self.rates = {name: _choose_initial_rate(name) for name in PIPELINE_CHECKPOINTS}
        self._write_faults_file()

    def adjust_rates(self, *, accepted_share: float, finished_share: float) -> None:
        """Adjust the rate of each checkpoint to its crashes so far and to the jobs that have passed it.

        Jobs pass the checkpoints of ingest when they are accepted, and the others until they are finished.
        """
        crashes = self.count_crashes()
        for name, rate in self.rates.items():
            progress = accepted_share if name.startswith("ingest.") else finished_share
            wanted = self.wanted * _WANTED_FACTORS.get(name, 1)
            due = wanted * min(1.0, progress * _PROGRESS_FACTOR)
            if crashes[name] >= wanted or finished_share >= self.stop_at_share:
                self.rates[name] = _SATISFIED_RATE
            elif crashes[name] + 1 <= due:
                self.rates[name] = min(rate * _INCREASE_FACTOR, _MAX_RATE)
            else:
                min_rate = _RARE_CHECKPOINT_RATES.get(name, _MIN_RATE)
                self.rates[name] = max(rate * _DECREASE_FACTOR, min_rate)
        self._write_faults_file()

    def stop(self) -> None:
        """Disable the faults. The log stays."""
        self.faults_file.unlink(missing_ok=True)

    def count_crashes(self) -> Counter[str]:
        """Return the number of crashes by checkpoint."""
        return Counter(
            {name: count for (kind, name), count in self._count_logged_faults().items() if kind == "crash"}
        )

    def count_aws_faults(self) -> Counter[str]:
        """Return the number of failed AWS calls by name in the report."""
        return Counter(
            {
                f"{service} {_AWS_FAULT_NAMES[kind]}": count
                for (kind, service), count in self._count_logged_faults().items()
                if kind in _AWS_FAULT_NAMES
            }
        )

    def _count_logged_faults(self) -> Counter[tuple[str, str]]:
        if not self.log_file.exists():
            return Counter()
        lines = self.log_file.read_text("utf-8").splitlines()
        entries: list[Mapping[str, str]] = [json.loads(line) for line in lines]
        return Counter((entry["kind"], entry["name"]) for entry in entries)

    def _write_faults_file(self) -> None:
        write_faults(
            self.faults_file,
            self.log_file,
            crash=self.rates,
            aws_rejected=faults.AWS_REJECTED_RATES,
            aws_response_lost=faults.AWS_RESPONSE_LOST_RATES,
        )


def _choose_initial_rate(name: str) -> float:
    default = _INITIAL_SWEEP_RATE if name.startswith("sweep.") else _INITIAL_RATE
    return _RARE_CHECKPOINT_RATES.get(name, default)
