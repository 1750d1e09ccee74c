"""Translate why a create request failed into the change of its job, and into the delay of the next one."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from replicate_proxy.contracts.commands import MAX_MESSAGE_DELAY_SECONDS
from replicate_proxy.errors import ConfigurationError
from replicate_proxy.jobs.changes import Rejected, Released
from replicate_proxy.jobs.model import EndReason, Waiting, WaitReason
from replicate_proxy.replicate_api.errors import BreakerOpenError, ThrottledError, TokenRejectedError
from replicate_proxy.replicate_api.known_models import is_target_missing

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.replicate_api.errors import NotAcceptedError, RejectedError

MIN_DELAY_SECONDS = 1.0
_MAX_BACKOFF_SECONDS = 600
# After a wrong setting or secret, which an operator has to correct.
_CONFIGURATION_DELAY_SECONDS = 60.0
# These errors have nothing to do with the job, so they do not lengthen its backoff.
_NO_BACKOFF = (ThrottledError, BreakerOpenError, TokenRejectedError)


def calculate_retry_delay(job: Job, error: NotAcceptedError | ConfigurationError) -> float:
    """Return after how many seconds the job may be sent again."""
    if isinstance(error, ConfigurationError):
        return _CONFIGURATION_DELAY_SECONDS
    delay_seconds = error.retry_after if error.retry_after is not None else _backoff_seconds(job)
    return min(max(delay_seconds, MIN_DELAY_SECONDS), MAX_MESSAGE_DELAY_SECONDS)


def build_released_change(
    job: Job, error: NotAcceptedError | ConfigurationError, retry_at: datetime
) -> Released:
    """Return the change that puts a job back into the queue whose create request was not accepted."""
    return Released(
        attempt=job.attempt,
        retry_at=retry_at,
        increments_backoff=not isinstance(error, _NO_BACKOFF),
        waiting=Waiting(reason=_name_wait_reason(error), until=retry_at),
    )


def build_rejected_change(job: Job, error: RejectedError) -> Rejected:
    """Return the change that ends the job with Replicate's own title and detail as its error."""
    text = f"{error.title}: {error.detail}".strip(": \n") or f"Replicate answered {error.status}"
    has_no_credit = error.status == HTTPStatus.PAYMENT_REQUIRED
    reason = EndReason.NO_CREDIT if has_no_credit else EndReason.REJECTED
    return Rejected(attempt=job.attempt, error=text, reason=reason, is_target_gone=is_target_missing(error))


def _name_wait_reason(error: NotAcceptedError | ConfigurationError) -> WaitReason:
    match error:
        case ThrottledError():
            return WaitReason.RATE_LIMIT
        case BreakerOpenError():
            return WaitReason.CIRCUIT_OPEN
        case TokenRejectedError():
            return WaitReason.TOKEN_REJECTED
        case ConfigurationError():
            return WaitReason.CONFIGURATION
        case _:
            return WaitReason.NOT_ACCEPTED


def _backoff_seconds(job: Job) -> float:
    return float(min(5 * 2 ** min(job.failed_submissions, 8), _MAX_BACKOFF_SECONDS))
