"""Apply changes to a job at NOW, with default timeouts."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.jobs import state_machine
from replicate_proxy.jobs.changes import StaleChangeError
from replicate_proxy.jobs.timeouts import JobTimeouts
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.jobs.changes import Change
    from replicate_proxy.jobs.model import Job

TIMEOUTS = JobTimeouts()
LATER = NOW + timedelta(seconds=60)


def apply_change(job: Job, change: Change, now: datetime = NOW) -> Job:
    return state_machine.apply_change(job, change, now=now, timeouts=TIMEOUTS)


def apply_changes(job: Job, changes: Sequence[Change]) -> Job:
    """Apply the changes, one a second; stale ones are skipped."""
    for seconds, change in enumerate(changes, start=1):
        with suppress(StaleChangeError):
            job = apply_change(job, change, NOW + timedelta(seconds=seconds))
    return job
