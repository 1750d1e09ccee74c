"""What cancels predictions."""

from __future__ import annotations

from functools import cache

from replicate_proxy.bootstrap.environment import checkpoint
from replicate_proxy.bootstrap.ingest import build_dispatch_queue, build_waiter
from replicate_proxy.bootstrap.jobs import build_job_updater
from replicate_proxy.services.cancel import JobCanceler


@cache
def build_canceler() -> JobCanceler:
    return JobCanceler(build_job_updater(), build_dispatch_queue(), build_waiter(), checkpoint=checkpoint)
