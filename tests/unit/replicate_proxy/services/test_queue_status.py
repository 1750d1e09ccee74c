"""GET /v1/status: the state of the caller's own queue."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.api.queue_status import add_queue_status_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.clock import format_timestamp
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account, JobStatus, Waiting, WaitReason
from replicate_proxy.pauses.pause import Pause, PauseMode
from replicate_proxy.replicate_api.circuit_breaker import CircuitBreaker
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter
from replicate_proxy.services.queue_status import QueueStatusReader
from replicate_proxy.timed_cache import TimedCache
from tests.support.aws import CONTROL_TABLE
from tests.support.builders import make_event
from tests.support.clock import NOW
from tests.support.concurrency import Concurrency

if TYPE_CHECKING:
    from replicate_proxy.services.queue_status import QueueStatus

S = JobStatus


class StatusApi:
    """The route over the stores on the simulation's AWS."""

    def __init__(self) -> None:
        self.concurrency = Concurrency()
        self.pauses: dict[str, Pause] = {}
        self.delivery_pauses: dict[str, Pause] = {}
        self.account = SHARED_ACCOUNT
        self.seconds = 0.0
        table = ControlTable(self.concurrency.aws.client("dynamodb"), CONTROL_TABLE)
        clock = self.concurrency.clock
        self.limiters = {
            account: RateLimiter(table, account.qualify("creates"), RateLimit(60, 2), clock)
            for account in (SHARED_ACCOUNT, Account("acme", "acme-team"))
        }
        self.breaker = CircuitBreaker(table, clock)
        cache: TimedCache[QueueStatus] = TimedCache(10, monotonic=lambda: self.seconds)
        reader = QueueStatusReader(
            jobs=self.concurrency.jobs,
            slots=self.concurrency.slots,
            find_max=self.concurrency.limits.find_max,
            find_account=lambda _tenant: self.account,
            find_pause=self.pauses.get,
            find_delivery_pause=self.delivery_pauses.get,
            read_creates=lambda account: self.limiters[account].read_state(),
            read_breaker=lambda account: CircuitBreaker(table, clock, account=account).read_status(),
            now=clock.now,
            cache=cache,
        )
        self._router = Router()
        add_queue_status_routes(self._router, reader)

    def get(self, **fields: Any) -> Any:
        self.seconds += 10
        return self.get_again(**fields)

    def get_again(self, **fields: Any) -> Any:
        response = self._router.handle(make_event("GET", "/v1/status", **fields))
        assert response["statusCode"] == 200, response
        return json.loads(response["body"])


@pytest.fixture
def api() -> StatusApi:
    return StatusApi()


def test_empty_queue_is_complete(api: StatusApi) -> None:
    status = api.get()

    assert status["predictions"] == {
        "unfinished": dict.fromkeys(
            ["queued", "submitting", "submit_unknown", "submitted", "processing", "harvesting"], 0
        ),
        "queued_for": {},
        "looked_at": 0,
        "complete": True,
        "oldest_queued_at": None,
        "oldest_queued_seconds": None,
    }
    assert (status["paused"], status["concurrency"]) == ({"predictions": None, "deliveries": None}, None)
    assert status["replicate"] == {
        "account": None,
        "rate_limit": {"limit_per_minute": 60, "limited_until": None, "reduced_until": None},
        "circuit_breaker": {"state": "closed", "open_since": None, "open_until": None},
    }


def test_unfinished_predictions_of_the_caller_are_counted(api: StatusApi) -> None:
    create = api.concurrency.create_job
    rejected = Waiting(reason=WaitReason.TOKEN_REJECTED, until=NOW)
    create(created_at=NOW - timedelta(minutes=3), waiting=rejected)
    create(created_at=NOW - timedelta(minutes=2), waiting=rejected)
    create(status=S.PROCESSING, created_at=NOW - timedelta(hours=1))
    create(status=S.SUCCEEDED)
    create(tenant="globex", created_at=NOW - timedelta(hours=2))

    counted = api.get()["predictions"]

    assert {name: number for name, number in counted["unfinished"].items() if number} == {
        "queued": 2,
        "processing": 1,
    }
    assert (counted["looked_at"], counted["complete"]) == (4, True)
    assert counted["queued_for"] == {"token_rejected": 2}
    assert counted["oldest_queued_seconds"] == 180


def test_only_the_newest_predictions_are_looked_at_and_the_first_in_line(api: StatusApi) -> None:
    api.concurrency.tenant_limits.put("acme", 1)
    jobs = [api.concurrency.create_job(created_at=NOW - timedelta(seconds=number)) for number in range(1_010)]
    oldest = jobs[-1]
    for job in (jobs[3], oldest):
        api.concurrency.gate.acquire(job)

    status = api.get()

    assert (status["predictions"]["looked_at"], status["predictions"]["complete"]) == (1_000, False)
    assert status["concurrency"] == {"max_concurrency": 1, "in_use": 1, "in_line": 1}
    assert status["predictions"]["oldest_queued_at"] == format_timestamp(oldest.created_at)


def test_what_keeps_predictions_from_being_sent_is_shown(api: StatusApi) -> None:
    api.pauses["acme"] = Pause(PauseMode.HOLD, "2026-01-31T09:00:00.000Z", "invoice")
    api.breaker.trip(seconds=60)
    limiter = api.limiters[SHARED_ACCOUNT]
    while limiter.acquire_slot() == 0:
        pass

    status = api.get()

    expected = {"mode": "hold", "since": "2026-01-31T09:00:00.000Z", "reason": "invoice"}
    assert status["paused"] == {"predictions": expected, "deliveries": None}
    replicate = status["replicate"]
    assert replicate["circuit_breaker"] == {
        "state": "open",
        "open_since": format_timestamp(NOW),
        "open_until": format_timestamp(NOW + timedelta(seconds=60)),
    }
    assert replicate["rate_limit"]["limited_until"] > format_timestamp(NOW)
    # What is paused is the caller's, not another's.
    assert api.get(tenant="globex")["paused"] == {"predictions": None, "deliveries": None}
    # A tenant with an account of its own is not concerned by the outage of another.
    api.account = Account("acme", "acme-team")
    own = api.get()["replicate"]
    assert (own["account"], own["circuit_breaker"]["state"]) == ("acme-team", "closed")
    assert own["rate_limit"]["limited_until"] is None


def test_requests_share_what_was_read_for_some_seconds(api: StatusApi) -> None:
    assert api.get()["predictions"]["looked_at"] == 0
    api.concurrency.create_job()

    assert api.get_again()["predictions"]["looked_at"] == 0
    assert api.get_again(tenant="globex")["predictions"]["looked_at"] == 0
    assert api.get()["predictions"]["looked_at"] == 1


def test_scope_is_required(api: StatusApi) -> None:
    response = api._router.handle(make_event("GET", "/v1/status", scopes="files:write"))
    assert response["statusCode"] == 403
