"""Replicate's webhooks: believed only with signature, age and URL in order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy import signing
from replicate_proxy.api.replicate_webhook import webhook_routes
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.errors import ApiError, RetryableError
from replicate_proxy.replicate_api.callback_url import AttemptReference, CallbackUrls
from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler
from replicate_proxy.services.reports import ReportLoader, ReportPublisher, build_report_change
from tests.support.builders import make_event, make_job
from tests.support.clock import NOW, FakeClock
from tests.support.fakes import FakeDocumentStore, FakeEventBus
from tests.support.world import SECRET

if TYPE_CHECKING:
    from collections.abc import Sequence

OTHER_SECRET = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXI="
JOB = AttemptReference("acme", "01kg9qjgp0ng6dewm7tv77d9xy", 1, "c-1")
PREDICTION = {"id": "p1", "status": "succeeded", "output": ["https://replicate.delivery/a.png"], "logs": ""}


class Bench:
    """A receiver with its fakes; `call` makes a proper webhook of which a test spoils one part."""

    def __init__(self) -> None:
        self.clock, self.bus, self.documents = FakeClock(), FakeEventBus(), FakeDocumentStore()
        self.urls = CallbackUrls("https://hooks.test", b"root")
        self.secrets: dict[bool, Sequence[str]] = {False: [SECRET], True: [SECRET]}
        self.reads: list[bool] = []
        self.receiver = ReplicateWebhookHandler(
            secrets=self._read_secrets,
            urls=self.urls,
            reports=ReportPublisher(self.bus, self.documents),
            clock=self.clock,
        )

    def _read_secrets(self, refresh: bool) -> Sequence[str]:
        self.reads.append(refresh)
        return self.secrets[refresh]

    def parts(
        self, body: Any = PREDICTION, *, secret: str = SECRET, age: int = 0
    ) -> tuple[dict[str, str], dict[str, str], bytes]:
        sent_at = int(self.clock.now().timestamp()) - age
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(sent_at),
            "webhook-signature": signing.sign_webhook([secret], "msg_1", sent_at, raw),
        }
        query = dict(part.split("=", 1) for part in self.urls.build_url(JOB).partition("?")[2].split("&"))
        return headers, query, raw

    def status_of(self, headers: dict[str, str], query: dict[str, str], body: bytes) -> int:
        with pytest.raises(ApiError) as refused:
            self.receiver.handle_webhook(headers, query, body)
        assert self.bus.published == []
        return refused.value.status

    def reports(self) -> list[PredictionReport]:
        return [PredictionReport.from_queue_message(body) for body in self.bus.queue_bodies()]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_proper_webhook_becomes_an_event(bench: Bench) -> None:
    bench.receiver.handle_webhook(*bench.parts())
    (event,) = bench.bus.published
    assert (event.name, event.source) == ("PredictionCompleted", "replicate-proxy.upstream")
    (report,) = bench.reports()
    assert (report.tenant, report.job_id, report.attempt) == ("acme", JOB.job_id, 1)
    assert (report.status, report.channel, report.received_at) == ("succeeded", "webhook", NOW)
    assert report.prediction == PREDICTION


@pytest.mark.parametrize(
    ("status", "logs", "name"),
    [
        ("starting", "", "PredictionStarted"),
        ("processing", "", "PredictionStarted"),
        ("processing", "10 %", "PredictionProgressed"),
        ("failed", "", "PredictionCompleted"),
        ("canceled", "", "PredictionCompleted"),
        ("aborted", "", "PredictionCompleted"),
    ],
)
def test_the_event_is_named_after_what_happened(bench: Bench, status: str, logs: str, name: str) -> None:
    bench.receiver.handle_webhook(*bench.parts({**PREDICTION, "status": status, "logs": logs}))
    assert [event.name.value for event in bench.bus.published] == [name]


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_without_its_headers_it_is_refused(bench: Bench, missing: str) -> None:
    headers, query, body = bench.parts()
    del headers[missing]
    assert bench.status_of(headers, query, body) == 400


@pytest.mark.parametrize("age", [301, -301])
def test_too_old_or_too_new_is_refused(bench: Bench, age: int) -> None:
    assert bench.status_of(*bench.parts(age=age)) == 400


@pytest.mark.parametrize("age", [299, -299])
def test_within_five_minutes_is_taken(bench: Bench, age: int) -> None:
    bench.receiver.handle_webhook(*bench.parts(age=age))
    assert len(bench.bus.published) == 1


@pytest.mark.parametrize("timestamp", ["soon", "-1", "1e9", "²", "9" * 40, "1769851800.5"])
def test_a_time_that_is_none_is_refused(bench: Bench, timestamp: str) -> None:
    headers, query, body = bench.parts()
    assert bench.status_of({**headers, "webhook-timestamp": timestamp}, query, body) == 400


def test_a_forged_signature_is_refused(bench: Bench) -> None:
    assert bench.status_of(*bench.parts(secret=OTHER_SECRET)) == 401


def test_a_body_changed_on_the_way_is_refused(bench: Bench) -> None:
    headers, query, body = bench.parts()
    assert bench.status_of(headers, query, body + b" ") == 401


@pytest.mark.parametrize("spoilt", ["tenant", "job", "attempt", "correlation", "sig"])
def test_a_url_that_we_did_not_sign_is_refused(bench: Bench, spoilt: str) -> None:
    headers, query, body = bench.parts()
    for value in ("", "2", "x", "²", "ä"):
        assert bench.status_of(headers, {**query, spoilt: value}, body) == 401
    del query[spoilt]
    assert bench.status_of(headers, query, body) == 401


def test_the_very_same_call_again_is_refused(bench: Bench) -> None:
    parts = bench.parts()
    bench.receiver.handle_webhook(*parts)
    with pytest.raises(ApiError) as refused:
        bench.receiver.handle_webhook(*parts)
    assert refused.value.status == 409
    assert len(bench.bus.published) == 1


def test_a_retry_with_a_new_time_is_taken(bench: Bench) -> None:
    bench.receiver.handle_webhook(*bench.parts())
    bench.clock.advance(10)
    bench.receiver.handle_webhook(*bench.parts())
    assert len(bench.bus.published) == 2


def test_after_a_rotation_the_secrets_are_read_anew(bench: Bench) -> None:
    bench.secrets[True] = [OTHER_SECRET]
    bench.receiver.handle_webhook(*bench.parts(secret=OTHER_SECRET))
    assert bench.reads == [False, True]
    assert len(bench.bus.published) == 1


def test_during_a_rotation_both_secrets_are_good(bench: Bench) -> None:
    bench.secrets[False] = [SECRET, OTHER_SECRET]
    bench.receiver.handle_webhook(*bench.parts(secret=OTHER_SECRET))
    assert bench.reads == [False]


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'"x"', b'{"id": 1, "status": "x"}', b'{"id": "p1"}'])
def test_what_is_no_prediction_is_refused(bench: Bench, body: bytes) -> None:
    assert bench.status_of(*bench.parts(body)) == 400


def test_broken_unicode_and_numbers_do_not_lose_the_news(bench: Bench) -> None:
    bench.receiver.handle_webhook(
        *bench.parts(b'{"id": "p1", "status": "failed", "error": "\\ud800", "n": NaN}')
    )
    (body,) = bench.bus.queue_bodies()
    assert body.encode()
    assert bench.reports()[0].status == "failed"


def test_a_large_body_travels_by_claim_check(bench: Bench) -> None:
    large = {**PREDICTION, "output": ["x" * 200_000]}
    bench.receiver.handle_webhook(*bench.parts(large))
    (report,) = bench.reports()
    assert report.prediction is None
    assert report.prediction_object_key is not None
    assert report.prediction_object_key.startswith(f"events/acme/{JOB.job_id}/")
    assert json.loads(bench.documents.read(report.prediction_object_key)) == large
    loaded = ReportLoader(bench.documents).load(report)
    assert loaded.prediction == large
    change = build_report_change(loaded, make_job(), bench.documents)
    assert bench.documents.load(change.output) == large["output"]
    assert len(bench.bus.queue_bodies()[0]) < 2000


def test_a_bus_that_fails_makes_replicate_try_again(bench: Bench) -> None:
    bench.bus.faults.fail("publish")
    parts = bench.parts()
    with pytest.raises(RetryableError):
        bench.receiver.handle_webhook(*parts)
    bench.receiver.handle_webhook(*parts)
    assert len(bench.bus.published) == 1


def test_over_http_it_is_answered_2xx_or_503(bench: Bench) -> None:
    routes = webhook_routes(bench.receiver)
    headers, query, body = bench.parts()
    event = make_event("POST", "/webhooks/replicate", query=query, headers=headers, body=body.decode())
    bench.bus.faults.fail("publish")
    assert routes.handle(event)["statusCode"] == 503
    assert 200 <= routes.handle(event)["statusCode"] < 300
    assert routes.handle({**event, "body": "{}"})["statusCode"] == 401
