"""Replicate's webhooks: believed only when signed, published on the bus, answered within a second."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from replicate_proxy import signing
from replicate_proxy.contracts.events import Event, EventSource, PredictionReport, event_name_of
from replicate_proxy.errors import ApiError
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.replicate_api.errors import UpstreamUnavailableError
from replicate_proxy.replicate_api.response import parse_json
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.ports import Clock, EventBus
    from replicate_proxy.replicate_api.callback_url import WebhookUrls
    from replicate_proxy.services.claim_check import ClaimCheck


_SEEN = 2048
_MOST_DIGITS = 12


class WebhookReceiver:
    """Checks come before any write: headers, age, signature over the raw bytes, our own proof in the URL,
    body.

    `secrets(refresh)` gives every live secret; they are read anew once when a signature fits none.
    """

    def __init__(
        self,
        *,
        secrets: Callable[[bool], Sequence[str]],
        urls: WebhookUrls,
        bus: EventBus,
        claim_check: ClaimCheck,
        clock: Clock,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._secrets = secrets
        self._urls = urls
        self._bus = bus
        self._claim_check = claim_check
        self._clock = clock
        self._checkpoint = checkpoint
        # A retry of Replicate's carries a new timestamp, so the very same headers again are a replay.
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def receive(self, headers: Mapping[str, str], query: Mapping[str, str], body: bytes) -> None:
        """Raises ApiError 4xx where the call is not Replicate's, RetryableError where it should try again."""
        proof = self._checked(headers, body)
        job = self._urls.read(query)
        if job is None:
            raise _refused(401, "unsigned_url", "The URL does not carry a valid job signature")
        prediction = _prediction(body)
        now = self._clock.now()
        status = str(prediction["status"])
        report = PredictionReport(
            tenant=job.tenant,
            job_id=job.job_id,
            attempt=job.attempt,
            status=status,
            via="webhook",
            received_at=now,
            correlation_id=job.correlation_id,
            prediction=prediction,
        )
        report = self._claim_check.offload(report, len(body))
        name = event_name_of(status, first_seen=not prediction.get("logs"))
        event = Event.new(
            name, EventSource.UPSTREAM, correlation_id=job.correlation_id, now=now, data=report.to_data()
        )
        self._checkpoint("webhook.verified")
        self._bus.publish([event])
        self._checkpoint("webhook.published")
        self._remember(proof)
        count(Metric.WEBHOOK_ACCEPTED)
        logger.info(
            "webhook accepted",
            job_id=job.job_id,
            tenant=job.tenant,
            correlation_id=job.correlation_id,
            status=status,
            attempt=job.attempt,
        )

    def _checked(self, headers: Mapping[str, str], body: bytes) -> tuple[str, str, str]:
        proof = tuple(headers.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
        message_id, sent_at, signature = proof
        if not all(proof) or not all(part.isascii() for part in proof):
            raise _refused(
                400, "missing_headers", "webhook-id, webhook-timestamp and webhook-signature are required"
            )
        if not sent_at.isascii() or not sent_at.isdigit() or len(sent_at) > _MOST_DIGITS:
            raise _refused(400, "bad_timestamp", "webhook-timestamp must be in Unix seconds")
        if abs(self._clock.now().timestamp() - int(sent_at)) > signing.WEBHOOK_TOLERANCE_SECONDS:
            raise _refused(400, "stale", "webhook-timestamp is too far from now")

        def fits(secrets: Sequence[str]) -> bool:
            return signing.webhook_signature_matches(
                secrets, message_id=message_id, timestamp=int(sent_at), body=body, header=signature
            )

        if not fits(self._secrets(False)) and not fits(self._secrets(True)):
            raise _refused(401, "forged", "The signature does not match")
        if (message_id, sent_at, signature) in self._seen:
            raise _refused(409, "replayed", "This very call was received before")
        return message_id, sent_at, signature

    def _remember(self, proof: tuple[str, str, str]) -> None:
        self._seen[proof] = None
        if len(self._seen) > _SEEN:
            self._seen.popitem(last=False)


def _prediction(body: bytes) -> dict[str, Any]:
    try:
        parsed = parse_json(body)
    except UpstreamUnavailableError:
        raise _refused(400, "not_json", "The body is not JSON") from None
    if not isinstance(parsed, dict) or not isinstance(parsed.get("id"), str) or "status" not in parsed:
        raise _refused(400, "not_a_prediction", "The body is not a prediction")
    return parsed


def _refused(status: int, reason: str, detail: str) -> ApiError:
    count(Metric.WEBHOOK_REFUSED)
    logger.warning("webhook refused", reason=reason)
    return ApiError(status, "Webhook refused", detail)
