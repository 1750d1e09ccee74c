"""One suite over the in-memory adapters and the DynamoDB ones: tests of services may trust the former."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from replicate_proxy.aws.delivery_store import DynamoOutbox
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore, DynamoTenantSecrets
from replicate_proxy.aws.receiver_limit_store import DynamoLanes
from replicate_proxy.errors import ApiError, ConflictError
from replicate_proxy.jobs.model import Document
from replicate_proxy.webhooks.endpoints import (
    DisabledReason,
    generate_signing_secret,
    rotate_secrets,
)
from replicate_proxy.webhooks.model import (
    PREDICTION_TARGET,
    Attempt,
    Delivery,
    DeliveryStatus,
    Ending,
    EventKind,
    StoredEvent,
    Verdict,
)
from replicate_proxy.webhooks.receiver_limits import LaneFullError
from replicate_proxy.webhooks.retry_policy import DeliverySettings
from tests.support.clock import NOW
from tests.support.deliveries import (
    TENANT,
    FakeEndpoints,
    FakeLanes,
    FakeOutbox,
    FakeSecrets,
    answered,
    hanging,
    make_endpoint,
)
from tests.support.delivery_stack import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.webhooks.ports import EndpointStore, Lanes, Outbox, TenantSecrets

TABLE = "deliveries"
JOB = "01kgahp2x3m4n5p6q7r8s9t0va"
SETTINGS = DeliverySettings(lane_slots=16)


@pytest.fixture
def table() -> Iterator[Any]:
    """A client of a table as the template makes it."""
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        make_table(client, TABLE)
        yield client


@pytest.fixture(params=["fake", "dynamodb"])
def dynamodb(request: pytest.FixtureRequest) -> Any:
    """None for the fakes."""
    return request.getfixturevalue("table") if request.param == "dynamodb" else None


@pytest.fixture
def outbox(dynamodb: Any) -> Outbox:
    return DynamoOutbox(dynamodb, TABLE, due_shards=8) if dynamodb else FakeOutbox()


@pytest.fixture
def endpoints(dynamodb: Any) -> EndpointStore:
    return DynamoEndpointStore(dynamodb, TABLE) if dynamodb else FakeEndpoints()


@pytest.fixture
def secrets(dynamodb: Any) -> TenantSecrets:
    return DynamoTenantSecrets(dynamodb, TABLE) if dynamodb else FakeSecrets()


@pytest.fixture
def lanes(dynamodb: Any) -> Lanes:
    return DynamoLanes(dynamodb, TABLE, SETTINGS) if dynamodb else FakeLanes(SETTINGS)


def make_delivery(**changes: Any) -> Delivery:
    values: dict[str, Any] = {
        "tenant": TENANT,
        "job_id": JOB,
        "sequence": 7,
        "target": PREDICTION_TARGET,
        "kind": EventKind.COMPLETED,
        "message_id": "msg_1",
        "url": "https://app.example/hook",
        "created_at": NOW,
        "queued_at": NOW,
        "next_attempt_at": NOW,
        "due_at": NOW + timedelta(minutes=5),
        "expires_at": 2_000_000_000,
    }
    return Delivery(**{**values, **changes})


def make_attempt(**changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "tenant": TENANT,
        "job_id": JOB,
        "sequence": 7,
        "target": PREDICTION_TARGET,
        "number": 1,
        "at": NOW,
        "verdict": Verdict.REFUSED,
        "duration_ms": 12,
        "status": 500,
        "error": "http_5xx",
        "answer": "sorry",
        "next_attempt_at": NOW + timedelta(seconds=5),
        "expires_at": 2_000_000_000,
    }
    return Attempt(**{**values, **changes})


class TestOutbox:
    def test_an_event_is_kept_as_it_was_first_recorded(self, outbox: Outbox) -> None:
        event = StoredEvent(
            tenant=TENANT,
            job_id=JOB,
            sequence=7,
            kind=EventKind.COMPLETED,
            message_id="msg_1",
            created_at=NOW,
            body=Document(text='"{}"'),
            expires_at=2_000_000_000,
        )
        outbox.record_event(event)
        outbox.record_event(replace(event, body=Document(object_key="records/other")))

        assert outbox.event(TENANT, JOB, 7) == event
        assert outbox.event("other", JOB, 7) is None

    def test_a_delivery_is_recorded_once(self, outbox: Outbox) -> None:
        assert outbox.record(make_delivery())
        assert not outbox.record(make_delivery(message_id="msg_2"))
        assert outbox.get(TENANT, JOB, 7, PREDICTION_TARGET) == make_delivery()

    def test_every_field_survives(self, outbox: Outbox) -> None:
        full = make_delivery(
            status=DeliveryStatus.FAILED,
            tries=3,
            attempts=4,
            lease_until=NOW,
            verdict=Verdict.DOWN,
            ending=Ending.EXHAUSTED,
            finished_at=NOW,
            correlation_id="req-1",
            due_at=None,
            url=None,
            target="ep_1",
        )
        outbox.record(full)
        assert outbox.get(TENANT, JOB, 7, "ep_1") == full

    def test_a_save_that_comes_second_conflicts(self, outbox: Outbox) -> None:
        delivery = make_delivery()
        outbox.record(delivery)
        assert outbox.save(replace(delivery, tries=1)).rev == 1
        with pytest.raises(ConflictError):
            outbox.save(replace(delivery, tries=1))

    def test_the_line_is_that_of_one_job_and_target(self, outbox: Outbox) -> None:
        for sequence in (3, 7, 20, 100):
            outbox.record(make_delivery(sequence=sequence))
        outbox.record(make_delivery(sequence=5, target="ep_1"))
        outbox.record(make_delivery(sequence=6, tenant="other"))
        outbox.record(make_delivery(sequence=6, job_id="01kgahp2x3m4n5p6q7r8s9t0vb"))

        line = outbox.line(TENANT, JOB, PREDICTION_TARGET, up_to=20, limit=2)
        assert [each.sequence for each in line] == [20, 7]
        following = outbox.following(make_delivery(sequence=20))
        assert following is not None
        assert following.sequence == 100
        assert outbox.following(make_delivery(sequence=100)) is None

    def test_attempts_are_listed_by_delivery_by_job_and_by_target(self, outbox: Outbox) -> None:
        later = NOW + timedelta(seconds=5)
        for attempt in (
            make_attempt(),
            make_attempt(
                number=2, at=later, verdict=Verdict.TAKEN, status=200, error=None, next_attempt_at=None
            ),
            make_attempt(sequence=8, at=later),
            make_attempt(target="ep_1"),
            make_attempt(tenant="other"),
        ):
            outbox.record_attempt(attempt)

        assert [each.number for each in outbox.attempts(make_delivery())] == [1, 2]
        assert len(outbox.attempts_of_job(TENANT, JOB)) == 4
        page = outbox.attempts_to(TENANT, PREDICTION_TARGET, cursor=None, limit=2)
        assert [each.at for each in page.attempts] == [later, later]
        rest = outbox.attempts_to(TENANT, PREDICTION_TARGET, cursor=page.next, limit=2)
        assert [each.at for each in rest.attempts] == [NOW]
        assert rest.next is None

    def test_deliveries_are_paged_by_target_and_time(self, outbox: Outbox) -> None:
        for minute in range(5):
            at = NOW + timedelta(minutes=minute)
            outbox.record(make_delivery(sequence=minute, created_at=at, target="ep_1"))
        outbox.record(make_delivery(target="ep_2"))
        outbox.record(make_delivery(target="ep_1", tenant="other"))

        since = NOW + timedelta(minutes=1)
        seen: list[int] = []
        cursor = None
        while True:
            page = outbox.deliveries_to(
                TENANT, "ep_1", since=since, cursor=cursor, limit=3, oldest_first=True
            )
            seen += [each.sequence for each in page.deliveries]
            cursor = page.next
            if cursor is None:
                break
        assert seen == [1, 2, 3, 4]
        newest = outbox.deliveries_to(TENANT, "ep_1", since=None, cursor=None, limit=2, oldest_first=False)
        assert [each.sequence for each in newest.deliveries] == [4, 3]

    def test_due_are_those_whose_time_has_come_until_they_are_handed_over(self, outbox: Outbox) -> None:
        outbox.record(make_delivery(sequence=1, due_at=NOW))
        outbox.record(make_delivery(sequence=2, due_at=NOW + timedelta(hours=1)))
        outbox.record(make_delivery(sequence=3, due_at=None, status=DeliveryStatus.SUCCEEDED))

        def due() -> list[int]:
            rows = [row for shard in range(8) for row in outbox.due(shard, before=NOW, limit=10)]
            return [row.command.sequence for row in rows]

        assert due() == [1]
        (row,) = [row for shard in range(8) for row in outbox.due(shard, before=NOW, limit=10)]
        assert (row.command.tenant, row.command.job_id, row.command.target) == (
            TENANT,
            JOB,
            PREDICTION_TARGET,
        )
        outbox.hand_over(row, until=NOW + timedelta(minutes=5))
        assert due() == []

    def test_a_handover_does_not_touch_a_delivery_that_moved_on(self, outbox: Outbox) -> None:
        outbox.record(make_delivery(due_at=NOW))
        (row,) = [row for shard in range(8) for row in outbox.due(shard, before=NOW, limit=10)]
        stored = outbox.get(TENANT, JOB, 7, PREDICTION_TARGET)
        assert stored is not None
        outbox.save(replace(stored, due_at=None, status=DeliveryStatus.SUCCEEDED))

        outbox.hand_over(row, until=NOW + timedelta(minutes=5))

        stored = outbox.get(TENANT, JOB, 7, PREDICTION_TARGET)
        assert stored is not None
        assert stored.due_at is None


class TestEndpoints:
    def test_an_endpoint_survives_with_its_secrets(self, endpoints: EndpointStore) -> None:
        secrets = rotate_secrets((generate_signing_secret(NOW),), now=NOW, grace=timedelta(days=1))
        endpoint = make_endpoint(
            secrets=secrets,
            events=(EventKind.COMPLETED,),
            description="ours",
            disabled_reason=DisabledReason.GONE,
            disabled_at=NOW,
        )
        endpoints.create(endpoint)
        assert endpoints.get(TENANT, endpoint.id) == endpoint
        assert endpoints.get("other", endpoint.id) is None

    def test_all_are_one_tenants_oldest_first(self, endpoints: EndpointStore) -> None:
        for name in ("ep_b", "ep_a"):
            endpoints.create(make_endpoint(id=name))
        endpoints.create(make_endpoint(tenant="other"))
        assert [each.id for each in endpoints.all(TENANT)] == ["ep_a", "ep_b"]

    def test_a_save_that_comes_second_conflicts(self, endpoints: EndpointStore) -> None:
        endpoint = make_endpoint()
        endpoints.create(endpoint)
        endpoints.save(replace(endpoint, url="https://b.example/"))
        with pytest.raises(ConflictError):
            endpoints.save(replace(endpoint, url="https://c.example/"))

    def test_deleting_says_whether_there_was_one(self, endpoints: EndpointStore) -> None:
        endpoints.create(make_endpoint())
        assert not endpoints.delete("other", make_endpoint().id)
        assert endpoints.delete(TENANT, make_endpoint().id)
        assert not endpoints.delete(TENANT, make_endpoint().id)


class TestSecrets:
    def test_a_tenants_secret_is_made_once(self, secrets: TenantSecrets) -> None:
        (first,) = secrets.of(TENANT, now=NOW)
        assert secrets.of(TENANT, now=NOW + timedelta(days=1)) == (first,)
        assert secrets.of("other", now=NOW) != (first,)

    def test_of_two_rotations_at_once_one_conflicts(self, secrets: TenantSecrets) -> None:
        old = secrets.of(TENANT, now=NOW)
        new = rotate_secrets(old, now=NOW, grace=timedelta(days=1))
        secrets.replace(TENANT, old=old, new=new)
        with pytest.raises(ConflictError):
            secrets.replace(TENANT, old=old, new=new)
        assert secrets.of(TENANT, now=NOW) == new


class TestLanes:
    def test_slots_are_limited_and_come_back(self, lanes: Lanes) -> None:
        for number in range(16):
            lanes.enter(TENANT, "ep_1", f"t{number}", now=NOW)
        with pytest.raises(LaneFullError) as full:
            lanes.enter(TENANT, "ep_1", "t16", now=NOW)
        assert full.value.hangs == 0
        lanes.enter(TENANT, "ep_2", "t16", now=NOW)

        lanes.leave(TENANT, "ep_1", "t3")
        lanes.enter(TENANT, "ep_1", "t16", now=NOW)

    def test_a_dead_workers_slot_is_free_again_after_its_lease(self, lanes: Lanes) -> None:
        for number in range(16):
            lanes.enter(TENANT, "ep_1", f"t{number}", now=NOW)
        lanes.enter(TENANT, "ep_1", "late", now=NOW + timedelta(seconds=61))
        state = lanes.get(TENANT, "ep_1")
        assert state is not None
        assert state.in_flight == 16

    def test_a_receiver_that_hangs_loses_slots_until_it_answers(self, lanes: Lanes) -> None:
        lanes.enter(TENANT, "ep_1", "a", now=NOW)
        lanes.enter(TENANT, "ep_1", "b", now=NOW)
        assert lanes.settle(TENANT, "ep_1", "a", answer=hanging(), now=NOW).hangs == 1
        assert lanes.settle(TENANT, "ep_1", "b", answer=hanging(), now=NOW).hangs == 2

        lanes.enter(TENANT, "ep_1", "probe", now=NOW)
        with pytest.raises(LaneFullError) as full:
            lanes.enter(TENANT, "ep_1", "c", now=NOW)
        assert full.value.hangs == 2

        after = lanes.settle(TENANT, "ep_1", "probe", answer=answered(200), now=NOW)
        assert (after.hangs, after.failures_in_a_row, after.failing_since) == (0, 0, None)
        assert after.last_success_at == NOW
        for number in range(16):
            lanes.enter(TENANT, "ep_1", f"t{number}", now=NOW)

    def test_failures_are_counted_from_the_first(self, lanes: Lanes) -> None:
        for second in range(3):
            now = NOW + timedelta(seconds=second)
            lanes.enter(TENANT, "ep_1", f"t{second}", now=now)
            state = lanes.settle(TENANT, "ep_1", f"t{second}", answer=answered(500), now=now)
        assert (state.failures_in_a_row, state.failing_since, state.hangs) == (3, NOW, 0)

        lanes.forgive(TENANT, "ep_1")
        lanes.forgive(TENANT, "never_used")
        after = lanes.get(TENANT, "ep_1")
        assert after is not None
        assert (after.failures_in_a_row, after.failing_since) == (0, None)


@pytest.mark.parametrize("cursor", ["x", "e30", "WzEsMiwzXQ", "!!!"])
def test_a_cursor_of_anothers_making_is_refused(cursor: str, table: Any) -> None:
    with pytest.raises(ApiError):
        DynamoOutbox(table, TABLE, due_shards=8).attempts_to(TENANT, "ep_1", cursor=cursor, limit=1)
