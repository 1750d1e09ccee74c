"""Replicate's webhooks: accepted only with valid headers, age, signature and callback URL."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy import signing
from replicate_proxy.api.replicate_webhook import add_replicate_webhook_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.errors import ApiError, RetryableError
from replicate_proxy.observability import Metric
from replicate_proxy.replicate_api.callback_url import AttemptReference, CallbackUrls
from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler
from replicate_proxy.services.report_change import build_report_change
from replicate_proxy.services.reports import ReportLoader, ReportPublisher
from tests.support.accounts import OWN_SECRET
from tests.support.builders import make_event, make_job
from tests.support.clock import NOW, FakeClock
from tests.support.fakes import FakeDocumentStore, FakeEventBus
from tests.support.metrics import MetricsReader
from tests.support.pipeline import SECRET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.jobs.model import Account

OTHER_SECRET = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXI="
ATTEMPT = AttemptReference("acme", "01kg9qjgp0ng6dewm7tv77d9xy", 1, "c-1")
PREDICTION = {"id": "p1", "status": "succeeded", "output": ["https://replicate.delivery/a.png"], "logs": ""}

type WebhookRequest = tuple[dict[str, str], dict[str, str], bytes]


class WebhookStack:
    """A webhook handler with its fakes; tests change one part of the valid webhook from `make_request`."""

    def __init__(self) -> None:
        self.clock, self.bus, self.documents = FakeClock(), FakeEventBus(), FakeDocumentStore()
        self.urls = CallbackUrls("https://hooks.test", b"root")
        self.secrets_by_refresh: dict[bool, Sequence[str]] = {False: [SECRET], True: [SECRET]}
        self.secret_reads: list[bool] = []
        self.handler = ReplicateWebhookHandler(
            secrets=self._read_secrets,
            urls=self.urls,
            reports=ReportPublisher(self.bus, self.documents),
            clock=self.clock,
        )

    def _read_secrets(self, account: Account, refresh: bool) -> Sequence[str]:
        self.secret_reads.append(refresh)
        if not account.is_shared:
            return [OWN_SECRET]
        return self.secrets_by_refresh[refresh]

    def make_request(
        self, body: Any = PREDICTION, *, secret: str = SECRET, age_seconds: int = 0
    ) -> WebhookRequest:
        """Return the headers, query parameters and body of a webhook."""
        timestamp = int(self.clock.now().timestamp()) - age_seconds
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signing.sign_webhook([secret], "msg_1", timestamp, raw),
        }
        query_string = self.urls.build_url(ATTEMPT).partition("?")[2]
        query = dict(part.split("=", 1) for part in query_string.split("&"))
        return headers, query, raw

    def get_rejection_status(self, headers: dict[str, str], query: dict[str, str], body: bytes) -> int:
        """Return the HTTP status of the error that the webhook causes; nothing is published."""
        with pytest.raises(ApiError) as caught:
            self.handler.handle_webhook(headers, query, body)
        assert self.bus.published == []
        return caught.value.status

    def parse_reports(self) -> list[PredictionReport]:
        return [PredictionReport.from_queue_message(body) for body in self.bus.queue_bodies()]


@pytest.fixture
def stack() -> WebhookStack:
    return WebhookStack()


def test_valid_webhook_is_published(stack: WebhookStack) -> None:
    stack.handler.handle_webhook(*stack.make_request())

    (event,) = stack.bus.published
    assert (event.name, event.source) == ("PredictionCompleted", "replicate-proxy.upstream")
    (report,) = stack.parse_reports()
    assert (report.tenant, report.job_id, report.attempt) == ("acme", ATTEMPT.job_id, 1)
    assert (report.status, report.channel, report.received_at) == ("succeeded", "webhook", NOW)
    assert report.prediction == PREDICTION


@pytest.mark.parametrize(
    ("status", "logs", "event_name"),
    [
        ("starting", "", "PredictionStarted"),
        ("processing", "", "PredictionStarted"),
        ("processing", "10 %", "PredictionProgressed"),
        ("failed", "", "PredictionCompleted"),
        ("canceled", "", "PredictionCompleted"),
        ("aborted", "", "PredictionCompleted"),
    ],
)
def test_event_name_follows_from_status_and_logs(
    stack: WebhookStack, status: str, logs: str, event_name: str
) -> None:
    stack.handler.handle_webhook(*stack.make_request({**PREDICTION, "status": status, "logs": logs}))

    assert [event.name.value for event in stack.bus.published] == [event_name]


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_webhook_is_rejected_when_header_is_missing(stack: WebhookStack, header: str) -> None:
    headers, query, body = stack.make_request()
    del headers[header]

    assert stack.get_rejection_status(headers, query, body) == 400


@pytest.mark.parametrize("age_seconds", [301, -301])
def test_webhook_is_rejected_when_timestamp_is_too_far_from_now(
    stack: WebhookStack, age_seconds: int
) -> None:
    assert stack.get_rejection_status(*stack.make_request(age_seconds=age_seconds)) == 400


@pytest.mark.parametrize("age_seconds", [299, -299])
def test_webhook_is_accepted_when_timestamp_is_within_five_minutes(
    stack: WebhookStack, age_seconds: int
) -> None:
    stack.handler.handle_webhook(*stack.make_request(age_seconds=age_seconds))

    assert len(stack.bus.published) == 1


@pytest.mark.parametrize("timestamp", ["soon", "-1", "1e9", "²", "9" * 40, "1769851800.5"])
def test_webhook_is_rejected_when_timestamp_is_malformed(stack: WebhookStack, timestamp: str) -> None:
    headers, query, body = stack.make_request()

    assert stack.get_rejection_status({**headers, "webhook-timestamp": timestamp}, query, body) == 400


def test_webhook_is_rejected_when_signature_is_of_other_secret(stack: WebhookStack) -> None:
    assert stack.get_rejection_status(*stack.make_request(secret=OTHER_SECRET)) == 401


def test_webhook_is_rejected_when_body_was_changed(stack: WebhookStack) -> None:
    headers, query, body = stack.make_request()

    assert stack.get_rejection_status(headers, query, body + b" ") == 401


@pytest.mark.parametrize("parameter", ["tenant", "job", "attempt", "correlation", "sig"])
def test_webhook_is_rejected_when_url_parameter_was_changed(stack: WebhookStack, parameter: str) -> None:
    headers, query, body = stack.make_request()

    for value in ("", "2", "x", "²", "ä"):
        assert stack.get_rejection_status(headers, {**query, parameter: value}, body) == 401
    del query[parameter]
    assert stack.get_rejection_status(headers, query, body) == 401


def test_webhook_is_rejected_when_replayed(stack: WebhookStack) -> None:
    request = stack.make_request()
    stack.handler.handle_webhook(*request)

    with pytest.raises(ApiError) as caught:
        stack.handler.handle_webhook(*request)

    assert caught.value.status == 409
    assert len(stack.bus.published) == 1


def test_webhook_is_accepted_when_retried_with_new_timestamp(stack: WebhookStack) -> None:
    stack.handler.handle_webhook(*stack.make_request())
    stack.clock.advance(10)

    stack.handler.handle_webhook(*stack.make_request())

    assert len(stack.bus.published) == 2


def test_secrets_are_read_again_when_signature_matches_none(stack: WebhookStack) -> None:
    stack.secrets_by_refresh[True] = [OTHER_SECRET]

    stack.handler.handle_webhook(*stack.make_request(secret=OTHER_SECRET))

    assert stack.secret_reads == [False, True]
    assert len(stack.bus.published) == 1


def test_both_secrets_are_valid_during_rotation(stack: WebhookStack) -> None:
    stack.secrets_by_refresh[False] = [SECRET, OTHER_SECRET]

    stack.handler.handle_webhook(*stack.make_request(secret=OTHER_SECRET))

    assert stack.secret_reads == [False]


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'"x"', b'{"id": 1, "status": "x"}', b'{"id": "p1"}'])
def test_webhook_is_rejected_when_body_is_no_prediction(stack: WebhookStack, body: bytes) -> None:
    assert stack.get_rejection_status(*stack.make_request(body)) == 400


def test_webhook_is_published_when_body_has_invalid_unicode_and_numbers(stack: WebhookStack) -> None:
    body = b'{"id": "p1", "status": "failed", "error": "\\ud800", "n": NaN}'
    stack.handler.handle_webhook(*stack.make_request(body))

    (message,) = stack.bus.queue_bodies()
    assert message.encode()
    assert stack.parse_reports()[0].status == "failed"


def test_large_prediction_is_stored_and_loaded_again(stack: WebhookStack) -> None:
    large = {**PREDICTION, "output": ["x" * 200_000]}
    stack.handler.handle_webhook(*stack.make_request(large))

    # The event carries the object's key
    (report,) = stack.parse_reports()
    assert report.prediction is None
    assert report.prediction_object_key is not None
    assert report.prediction_object_key.startswith(f"events/acme/{ATTEMPT.job_id}/")
    assert json.loads(stack.documents.read(report.prediction_object_key)) == large
    assert len(stack.bus.queue_bodies()[0]) < 2000

    # The reader of the event gets the whole prediction
    loaded = ReportLoader(stack.documents).load(report)
    assert loaded.prediction == large
    change = build_report_change(loaded, make_job(), stack.documents)
    assert stack.documents.load(change.output) == large["output"]


@pytest.mark.parametrize(
    "code_point", [0, 8, 11, 0x1F, 0xD800, 0xDFFF, 0xFDD0, 0xFFFD, 0xFFFE, 0xFFFF, 0x1FFFE]
)
def test_queue_takes_every_event_and_its_reader_gets_the_text(stack: WebhookStack, code_point: int) -> None:
    text = f"<{chr(code_point)}>"
    stack.handler.handle_webhook(*stack.make_request({**PREDICTION, "output": text}))

    (report,) = stack.parse_reports()
    loaded = ReportLoader(stack.documents).load(report)
    assert loaded.prediction
    is_surrogate = 0xD800 <= code_point <= 0xDFFF
    assert loaded.prediction["output"] == ("<\N{REPLACEMENT CHARACTER}>" if is_surrogate else text)


@pytest.mark.parametrize(
    ("value", "is_inline"),
    [
        (2**63 - 1, True),
        (2**63, False),
        (2**64 - 1, False),
        (-(2**63) + 1, True),
        (-(2**63) - 1, False),
        (10**100, False),
        ([2**64, 1], False),
        ([1, 2**64], False),
        ({"seed": -(2**64)}, False),
        ("0" * 64, True),
        (0.0012345678901234567, True),
        (1e300, True),
    ],
)
def test_integers_that_the_bus_does_not_take_are_not_in_events(
    stack: WebhookStack, value: object, is_inline: bool
) -> None:
    """A seed of 64 bits without a sign is in what Replicate repeats of the input."""
    prediction = {**PREDICTION, "input": {"seed": value}}
    stack.handler.handle_webhook(*stack.make_request(prediction))

    (report,) = stack.parse_reports()
    assert (report.prediction is not None) == is_inline
    assert ReportLoader(stack.documents).load(report).prediction == prediction


def test_webhook_can_be_retried_when_bus_is_unavailable(stack: WebhookStack) -> None:
    stack.bus.faults.fail("publish")
    request = stack.make_request()
    with pytest.raises(RetryableError):
        stack.handler.handle_webhook(*request)

    stack.handler.handle_webhook(*request)

    assert len(stack.bus.published) == 1


def test_route_answers_503_when_bus_is_unavailable_else_2xx_or_401(stack: WebhookStack) -> None:
    router = Router()
    add_replicate_webhook_routes(router, stack.handler)
    headers, query, body = stack.make_request()
    event = make_event("POST", "/webhooks/replicate", query=query, headers=headers, body=body.decode())
    stack.bus.faults.fail("publish")

    assert router.handle(event)["statusCode"] == 503
    assert 200 <= router.handle(event)["statusCode"] < 300
    assert router.handle({**event, "body": "{}"})["statusCode"] == 401


@pytest.mark.parametrize(
    "output",
    [b"[" + b"1," * 88_000 + b"1]", b"[" + b"1e9," * 44_000 + b"1]", b'"' + b"\xff" * 179_000 + b'"'],
)
def test_event_stays_within_its_limit_when_its_json_is_longer_than_the_body(
    stack: WebhookStack, output: bytes
) -> None:
    stack.handler.handle_webhook(
        *stack.make_request(b'{"id": "p1", "status": "succeeded", "output": ' + output + b"}")
    )

    (message,) = stack.bus.queue_bodies()
    assert len(message.encode()) < 256 * 1024


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        ("missing_headers", {"headers": {}}),
        ("forged", {"secret": OTHER_SECRET}),
        ("stale", {"age_seconds": 301}),
        ("unsigned_url", {"query": {}}),
        ("not_json", {"body": b"{"}),
        ("not_a_prediction", {"body": {}}),
    ],
)
def test_rejection_is_counted_by_reason(
    stack: WebhookStack, emitted: MetricsReader, reason: str, changes: dict[str, Any]
) -> None:
    replaced = {name: changes.pop(name) for name in ("headers", "query") if name in changes}
    headers, query, body = stack.make_request(**changes)

    stack.get_rejection_status(replaced.get("headers", headers), replaced.get("query", query), body)

    assert emitted.sum_by(Metric.WEBHOOK_REJECTED, "reason") == {(reason,): 1}


class TestOwnAccount:
    """A webhook whose callback URL names the tenant's own account."""

    OWN = replace(ATTEMPT, replicate_account="own")

    def make_request(self, stack: WebhookStack, secret: str, attempt: AttemptReference) -> WebhookRequest:
        headers, _, body = stack.make_request(secret=secret)
        query_string = stack.urls.build_url(attempt).partition("?")[2]
        return headers, dict(part.split("=", 1) for part in query_string.split("&")), body

    def test_its_secret_verifies_the_webhook(self, stack: WebhookStack) -> None:
        stack.handler.handle_webhook(*self.make_request(stack, OWN_SECRET, self.OWN))

        (report,) = stack.parse_reports()
        assert report.replicate_account == "own"

    def test_secret_of_the_shared_account_is_refused(self, stack: WebhookStack) -> None:
        assert stack.get_rejection_status(*self.make_request(stack, SECRET, self.OWN)) == 401

    def test_its_secret_is_refused_for_the_shared_account(self, stack: WebhookStack) -> None:
        assert stack.get_rejection_status(*self.make_request(stack, OWN_SECRET, ATTEMPT)) == 401

    def test_account_of_the_url_cannot_be_changed(self, stack: WebhookStack) -> None:
        for attempt, account in ((ATTEMPT, "own"), (self.OWN, "other"), (self.OWN, "")):
            headers, query, body = self.make_request(stack, OWN_SECRET, attempt)
            assert stack.get_rejection_status(headers, {**query, "account": account}, body) == 401
