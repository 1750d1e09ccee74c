"""Read the progress of a running job from Replicate, and publish it like a webhook of Replicate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.replicate_api.models import UpstreamStatus
from replicate_proxy.services.progress_request import REFRESHED_STATUSES
from replicate_proxy.services.reports import build_poll_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.model import Account, Job
    from replicate_proxy.ports import Clock
    from replicate_proxy.services.reconcile import PredictionFetcher
    from replicate_proxy.services.reports import ReportPublisher


class RefreshLimiter(Protocol):
    """Limits the reads for progress, so that they leave enough of the account's read limit for the sweep."""

    def acquire_slot(self) -> float:
        """Return 0 if a slot was free, else the seconds after which to try again."""
        ...


@dataclass(frozen=True, slots=True)
class ProgressRefresher:
    """Handles the command to refresh a job."""

    get_reader: Callable[[Account], PredictionFetcher]
    get_limiter: Callable[[Account], RefreshLimiter]
    reports: ReportPublisher
    clock: Clock

    def refresh(self, job: Job) -> None:
        """Publish what Replicate says about the job now; do nothing if that fails or the job has ended.

        A refresh is not repeated: the caller asks again as long as it looks. If the prediction has ended, the
        report ends the job, should Replicate's own webhook be late or lost.
        """
        if job.status in REFRESHED_STATUSES:
            self.publish_state(job)

    def publish_state(self, job: Job) -> bool:
        """Publish what Replicate says about the job's prediction, and return whether that was done.

        Of one that has not started there is nothing to say.
        """
        if job.replicate_id is None:
            return False
        if self.get_limiter(job.account).acquire_slot() > 0:
            logger.info("progress not refreshed, limit used up")
            return False
        try:
            prediction = self.get_reader(job.account).get(job.replicate_id)
            if prediction.data_removed or prediction.status is UpstreamStatus.STARTING:
                return False
            report = build_poll_report(job, prediction, self.clock.now())
            self.reports.publish(report, has_progress=True)
        except (RetryableError, PermanentError) as error:
            logger.info("progress not refreshed", reason=type(error).__name__)
            return False
        return True
