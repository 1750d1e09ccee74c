"""Accept Replicate's webhooks: verify each call and publish its report on the bus."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from replicate_proxy import signing
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.errors import ApiError
from replicate_proxy.jobs.model import SHARED_ACCOUNT, ReportChannel
from replicate_proxy.observability import Metric, count, logger, tracer
from replicate_proxy.replicate_api.errors import UnexpectedResponseError, UpstreamUnavailableError
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamStatus
from replicate_proxy.replicate_api.response import parse_json
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.jobs.model import Account
    from replicate_proxy.ports import Clock
    from replicate_proxy.replicate_api.callback_url import CallbackUrls
    from replicate_proxy.services.reports import ReportPublisher


_MAX_REMEMBERED_CALLS = 2048
_MAX_TIMESTAMP_DIGITS = 12

# The values of the headers webhook-id, webhook-timestamp and webhook-signature.
type _SignatureHeaders = tuple[str, str, str]


class ReplicateWebhookHandler:
    """Verifies headers, age, signature, callback URL and body, in this order, before anything is written.

    `secrets(account, refresh)` returns all valid signing secrets of the account that the callback URL names,
    of the shared one for a URL that is not ours. If a signature matches none of them, they are read again.
    """

    def __init__(
        self,
        *,
        secrets: Callable[[Account, bool], Sequence[str]],
        urls: CallbackUrls,
        reports: ReportPublisher,
        clock: Clock,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._secrets = secrets
        self._urls = urls
        self._reports = reports
        self._clock = clock
        self._checkpoint = checkpoint
        # Replicate sends a retry with a new timestamp, so identical headers mean a replay.
        self._accepted_calls: OrderedDict[_SignatureHeaders, None] = OrderedDict()

    def handle_webhook(self, headers: Mapping[str, str], query: Mapping[str, str], body: bytes) -> None:
        """Publish the report of a valid webhook.

        Raises ApiError with a 4xx status if the call is not valid, RetryableError if Replicate should retry.
        """
        attempt = self._urls.parse_query(query)
        account = SHARED_ACCOUNT if attempt is None else attempt.account
        signature_headers = self._verify_signature(headers, body, account)
        if attempt is None:
            raise _reject(401, "unsigned_url", "The URL is not signed by this proxy")
        prediction = _parse_prediction(body)
        tracer.annotate(job_id=attempt.job_id, replicate_id=prediction.id)
        if prediction.status is UpstreamStatus.UNKNOWN:
            # What it means is not known. The sweep asks Replicate again, whose later words will be known.
            count(Metric.UNKNOWN_STATUS_IGNORED)
            logger.warning(
                "webhook with unknown status ignored", job_id=attempt.job_id, tenant=attempt.tenant
            )
            return
        report = PredictionReport(
            tenant=attempt.tenant,
            job_id=attempt.job_id,
            attempt=attempt.attempt,
            status=prediction.status.value,
            channel=ReportChannel.WEBHOOK,
            received_at=self._clock.now(),
            correlation_id=attempt.correlation_id,
            prediction=prediction.raw,
            replicate_account=attempt.replicate_account,
        )
        self._checkpoint("webhook.request_verified")
        self._reports.publish(report, has_progress=bool(prediction.logs))
        self._checkpoint("webhook.event_published")
        self._remember_call(signature_headers)
        count(Metric.WEBHOOK_ACCEPTED)
        logger.info(
            "webhook accepted",
            job_id=report.job_id,
            tenant=report.tenant,
            correlation_id=report.correlation_id,
            status=report.status,
            attempt=report.attempt,
        )

    def _verify_signature(
        self, headers: Mapping[str, str], body: bytes, account: Account
    ) -> _SignatureHeaders:
        """Verify the headers and the signature over the raw body, and return the headers."""
        signature_headers = (
            headers.get("webhook-id", ""),
            headers.get("webhook-timestamp", ""),
            headers.get("webhook-signature", ""),
        )
        if not all(value and value.isascii() for value in signature_headers):
            raise _reject(
                400, "missing_headers", "webhook-id, webhook-timestamp and webhook-signature are required"
            )
        message_id, timestamp, signature = signature_headers
        if not timestamp.isdigit() or len(timestamp) > _MAX_TIMESTAMP_DIGITS:
            raise _reject(400, "bad_timestamp", "webhook-timestamp must be in Unix seconds")
        if abs(self._clock.now().timestamp() - int(timestamp)) > signing.WEBHOOK_TOLERANCE_SECONDS:
            raise _reject(400, "stale", "webhook-timestamp is too far from now")

        def matches(secrets: Sequence[str]) -> bool:
            return signing.webhook_signature_matches(
                secrets, message_id=message_id, timestamp=int(timestamp), body=body, header=signature
            )

        if not matches(self._secrets(account, False)) and not matches(self._secrets(account, True)):
            raise _reject(401, "forged", "The signature does not match")
        if signature_headers in self._accepted_calls:
            raise _reject(409, "replayed", "This webhook call was received before")
        return signature_headers

    def _remember_call(self, signature_headers: _SignatureHeaders) -> None:
        self._accepted_calls[signature_headers] = None
        if len(self._accepted_calls) > _MAX_REMEMBERED_CALLS:
            self._accepted_calls.popitem(last=False)


def _parse_prediction(body: bytes) -> UpstreamPrediction:
    try:
        return UpstreamPrediction.parse(parse_json(body))
    except UpstreamUnavailableError:
        raise _reject(400, "not_json", "The body is not JSON") from None
    except UnexpectedResponseError:
        raise _reject(400, "not_a_prediction", "The body is not a prediction") from None


def _reject(status: int, reason: str, detail: str) -> ApiError:
    """Count and log the rejection, and return its error."""
    count(Metric.WEBHOOK_REJECTED, reason=reason)
    logger.warning("webhook rejected", reason=reason)
    return ApiError(status, "Webhook rejected", detail)
