"""Serve the stream of a prediction from its record, once it is over.

CloudFront asks for it where Replicate's stream does not exist any more, and for all streams of files.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.contracts.stream_events import render_error, render_final_events, render_pending_events
from replicate_proxy.contracts.stream_urls import parse_stream_query
from replicate_proxy.errors import NotFoundError
from replicate_proxy.ids import is_id
from replicate_proxy.jobs.model import JobStatus, TimelineStep
from replicate_proxy.observability import logger
from replicate_proxy.outputs.private_urls import find_private_urls, refuse_private
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.outputs.private_urls import SignUrls
    from replicate_proxy.ports import DocumentStore, JobReader
    from replicate_proxy.services.wait import JobWaiter


# A job that still waits in the queue then is held up: its caller had better know.
_MAX_QUEUED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class StreamReplay:
    """Renders stored predictions as event streams; waits for one that is not over yet.

    A response cannot grow while it is sent, so nothing is sent before the prediction is final,
    `max_wait_seconds` have passed, or it has waited in the queue for some seconds.

    The URL of a stream does not expire, and would be a way to fresh URLs of private files. So a stream of
    these is there for `private_seconds` after the end of the prediction.
    """

    jobs: JobReader
    documents: DocumentStore
    waiter: JobWaiter
    load_key: Callable[[], bytes]
    max_wait_seconds: float
    sign_urls: SignUrls = refuse_private
    private_seconds: float = 3600
    max_response_bytes: int = MAX_RESPONSE_BYTES

    def read(
        self, query: Mapping[str, str], *, last_event_id: str = "", received_at: datetime | None = None
    ) -> str:
        """Return the event stream of a stream URL with that query.

        Raises NotFoundError for a signature that is not ours as for a stream that is not there any more.
        """
        target = parse_stream_query(query, self.load_key)
        job = self.jobs.get(*target) if target is not None and is_id(target[1]) else None
        if job is None:
            raise NotFoundError("no such stream")
        logger.append_keys(job_id=job.id, tenant=job.tenant)
        job = self._wait(job, received_at)
        if not job.is_terminal:
            return render_pending_events(job)
        output = self.documents.load(job.output)
        if self._has_expired(job, output):
            raise NotFoundError("no such stream")
        text = render_final_events(
            job,
            output=self.sign_urls(output, job.private_folder),
            logs=self.documents.load(job.logs),
            last_event_id=last_event_id,
        )
        if calculate_sent_bytes(text) > self.max_response_bytes:
            return render_error(
                "The output is too large for a stored stream: read"
                f" {job.public_base_url}/v1/predictions/{job.id}"
            )
        return text

    def _has_expired(self, job: Job, output: Any) -> bool:
        ended_at = job.timeline.get(TimelineStep.FINISHED) or job.completed_at
        if ended_at is None or not find_private_urls(output, job.private_folder):
            return False
        return self.waiter.clock.now() - ended_at > timedelta(seconds=self.private_seconds)

    def _wait(self, job: Job, received_at: datetime | None) -> Job:
        """Return the job once it is final, or as it is when it has been queued or run for too long."""
        submitted = self.waiter.wait_until(job, _is_submitted, _MAX_QUEUED_SECONDS, received_at=received_at)
        job = submitted or job
        if not _is_submitted(job):
            return job
        return self.waiter.wait_until_final(job, self.max_wait_seconds, received_at=received_at) or job


def _is_submitted(job: Job) -> bool:
    return job.status is not JobStatus.QUEUED
