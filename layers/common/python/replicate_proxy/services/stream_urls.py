"""The stream URL of a new job: from the start where it is known, after a short wait where Replicate makes it.

Replicate's clients take `urls.stream` from the response to the create request. The dispatcher learns
Replicate's URL only when it has created the prediction, so ingest waits for it, for a moment, if the model
may stream text. Which models stream, and what, is known from Replicate's earlier responses.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.contracts.stream_urls import KnownStream, StreamKind, build_stored_stream_url
from replicate_proxy.jobs.model import SHARED_ACCOUNT, JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.model import Account, Job, Submission
    from replicate_proxy.services.wait import JobWaiter

# Submission takes some 50 ms, and a caller waits for the first token.
_POLL_INTERVAL_SECONDS = 0.02
_ACCEPTANCE_DELAY = timedelta(seconds=1)
# As it is stored; the record in memory that was written has 0.
_REVISION_OF_NEW_JOBS = 1


class StreamDirectory(Protocol):
    """What is known about the streams of models: `replicate_api.known_models.KnownModels`."""

    def find_stream(self, submission: Submission, account: Account) -> KnownStream | None:
        """Return what predictions of that target stream, None if that is not known."""
        ...


@dataclass(frozen=True, slots=True)
class KnownStreams:
    """Decides by what the tenant's account knows about a model. `load_key` is called only if it streams."""

    models: StreamDirectory
    load_key: Callable[[], bytes]
    find_account: Callable[[str], Account] = lambda _tenant: SHARED_ACCOUNT

    def find_url(self, submission: Submission, tenant: str, job_id: str) -> str | None:
        """Return the URL that serves the stored output of a new job, None if it is not known to stream.

        For text it is the URL until Replicate's stream exists.
        """
        known = self.models.find_stream(submission, self.find_account(tenant))
        if known is None or known.kind is StreamKind.NONE:
            return None
        return build_stored_stream_url(known, tenant, job_id, self.load_key())

    def may_stream_text(self, submission: Submission, tenant: str) -> bool:
        """Return whether Replicate may have a stream of text, which is not known for a new model."""
        known = self.models.find_stream(submission, self.find_account(tenant))
        return known is None or known.kind is StreamKind.TEXT


@dataclass(frozen=True, slots=True)
class StreamUrlWaiter:
    """Waits until the dispatcher has recorded the stream of a new job, for `timeout_seconds` at most."""

    streams: KnownStreams
    waiter: JobWaiter
    timeout_seconds: float

    def wait(self, job: Job, *, received_at: datetime | None = None) -> Job:
        """Return the job as soon as dispatch has submitted or postponed it, or as it is after the timeout.

        It does not wait for a model that is known to stream no text.
        """
        first_revision = max(job.revision, _REVISION_OF_NEW_JOBS)
        if job.status is not JobStatus.QUEUED or not self.streams.may_stream_text(job.submission, job.tenant):
            return job

        accepted_by: datetime | None = None

        def is_decided(current: Job) -> bool:
            nonlocal accepted_by
            if current.status is JobStatus.QUEUED:
                # Postponed: the rate limit is used up, the circuit breaker is open, or Replicate is down.
                return current.revision > first_revision
            if current.status is JobStatus.PROCESSING and current.stream_url == job.stream_url:
                # A webhook was faster than the record of the acceptance, which follows.
                now = self.waiter.clock.now()
                accepted_by = accepted_by or now + _ACCEPTANCE_DELAY
                return now >= accepted_by
            return current.status is not JobStatus.SUBMITTING

        waited = self.waiter.wait_until(
            job,
            is_decided,
            self.timeout_seconds,
            received_at=received_at,
            interval_seconds=_POLL_INTERVAL_SECONDS,
        )
        return waited or job
