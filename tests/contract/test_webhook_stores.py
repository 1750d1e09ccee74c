"""One suite for the stores of webhook delivery, on moto and on the simulation's AWS."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from moto import mock_aws

from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore, DynamoSigningSecretStore
from replicate_proxy.aws.receiver_limit_store import DynamoReceiverLimitStore
from replicate_proxy.errors import ConflictError
from replicate_proxy.jobs.model import Document
from replicate_proxy.webhooks.endpoints import DisabledReason
from replicate_proxy.webhooks.model import (
    PREDICTION_TARGET,
    AttemptResult,
    DeliveryStatus,
    EventKind,
    FailureReason,
    StoredEvent,
)
from replicate_proxy.webhooks.ports import (
    DueDelivery,
)
from replicate_proxy.webhooks.receiver_limits import ConcurrencyLimitError
from replicate_proxy.webhooks.settings import DeliverySettings
from replicate_proxy.webhooks.signing_secrets import generate_signing_secret, rotate_secrets
from tests.support.aws import DELIVERIES_TABLE, create_deliveries_table, create_in_memory_aws
from tests.support.clock import NOW
from tests.support.webhook_builders import JOB_ID, TENANT, make_attempt, make_delivery, make_endpoint
from tests.support.webhook_fakes import respond, time_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.webhooks.ports import (
        DeliveryStore,
        EndpointStore,
        ReceiverLimitStore,
        SigningSecretStore,
    )

DUE_SHARDS = 8
SETTINGS = DeliverySettings(max_concurrency=16)


@pytest.fixture
def table_client() -> Iterator[DynamoDBClient]:
    with mock_aws():
        yield create_deliveries_table()


@pytest.fixture(params=["simulation", "moto"])
def dynamodb(request: pytest.FixtureRequest) -> DynamoDBClient:
    if request.param == "simulation":
        in_memory_client: DynamoDBClient = create_in_memory_aws().client("dynamodb")
        return in_memory_client
    client: DynamoDBClient = request.getfixturevalue("table_client")
    return client


@pytest.fixture
def deliveries(dynamodb: DynamoDBClient) -> DeliveryStore:
    return DynamoDeliveryStore(dynamodb, DELIVERIES_TABLE, due_shards=DUE_SHARDS)


@pytest.fixture
def endpoints(dynamodb: DynamoDBClient) -> EndpointStore:
    return DynamoEndpointStore(dynamodb, DELIVERIES_TABLE)


@pytest.fixture
def secrets(dynamodb: DynamoDBClient) -> SigningSecretStore:
    return DynamoSigningSecretStore(dynamodb, DELIVERIES_TABLE)


@pytest.fixture
def receiver_limits(dynamodb: DynamoDBClient) -> ReceiverLimitStore:
    return DynamoReceiverLimitStore(dynamodb, DELIVERIES_TABLE, SETTINGS)


def list_due(deliveries: DeliveryStore) -> list[DueDelivery]:
    """Return what is due at NOW, from all shards."""
    rows = [due for shard in range(DUE_SHARDS) for due in deliveries.list_due(shard, before=NOW, limit=10)]
    return [due for due in rows if isinstance(due, DueDelivery)]


class TestDeliveryStore:
    def test_create_event_keeps_first_version_when_event_exists(self, deliveries: DeliveryStore) -> None:
        event = StoredEvent(
            tenant=TENANT,
            job_id=JOB_ID,
            sequence=7,
            kind=EventKind.COMPLETED,
            message_id="msg_1",
            created_at=NOW,
            body=Document(text='"{}"'),
            expires_at=2_000_000_000,
            private_folder="private/a/b/",
        )
        deliveries.create_event(event)
        deliveries.create_event(replace(event, body=Document(object_key="records/other")))

        assert deliveries.get_event(TENANT, JOB_ID, 7) == event
        assert deliveries.get_event("other", JOB_ID, 7) is None

    def test_create_keeps_first_version_when_delivery_exists(self, deliveries: DeliveryStore) -> None:
        assert deliveries.create(make_delivery())
        assert not deliveries.create(make_delivery(message_id="msg_2"))
        assert deliveries.get(TENANT, JOB_ID, 7, PREDICTION_TARGET) == make_delivery()

    def test_get_returns_every_field(self, deliveries: DeliveryStore) -> None:
        delivery = make_delivery(
            status=DeliveryStatus.FAILED,
            schedule_attempts=3,
            total_attempts=4,
            lease_until=NOW,
            last_result=AttemptResult.UNAVAILABLE,
            failure_reason=FailureReason.EXHAUSTED,
            finished_at=NOW,
            paused_since=NOW,
            paused_seconds=90,
            correlation_id="req-1",
            due_at=None,
            url=None,
            target="ep_1",
        )
        deliveries.create(delivery)
        assert deliveries.get(TENANT, JOB_ID, 7, "ep_1") == delivery

    def test_save_raises_conflict_when_revision_is_stale(self, deliveries: DeliveryStore) -> None:
        delivery = make_delivery()
        deliveries.create(delivery)
        assert deliveries.save(replace(delivery, schedule_attempts=1)).revision == 1
        with pytest.raises(ConflictError):
            deliveries.save(replace(delivery, schedule_attempts=1))

    def test_list_latest_returns_one_job_and_target(self, deliveries: DeliveryStore) -> None:
        for sequence in (3, 7, 20, 100):
            deliveries.create(make_delivery(sequence=sequence))
        deliveries.create(make_delivery(sequence=5, target="ep_1"))
        deliveries.create(make_delivery(sequence=6, tenant="other"))
        deliveries.create(make_delivery(sequence=6, job_id="01kgahp2x3m4n5p6q7r8s9t0vb"))

        latest = deliveries.list_latest(TENANT, JOB_ID, PREDICTION_TARGET, up_to_sequence=20, limit=2)
        assert [delivery.sequence for delivery in latest] == [20, 7]
        next_delivery = deliveries.get_next(make_delivery(sequence=20))
        assert next_delivery is not None
        assert next_delivery.sequence == 100
        assert deliveries.get_next(make_delivery(sequence=100)) is None
        deliveries.create(make_delivery(sequence=21))
        adjacent = deliveries.get_next(make_delivery(sequence=20))
        assert adjacent is not None
        assert adjacent.sequence == 21

    def test_attempts_are_listed_by_delivery_job_and_target(self, deliveries: DeliveryStore) -> None:
        later = NOW + timedelta(seconds=5)
        for attempt in (
            make_attempt(),
            make_attempt(
                number=2,
                sent_at=later,
                result=AttemptResult.DELIVERED,
                status=200,
                error_code=None,
                next_attempt_at=None,
            ),
            make_attempt(sequence=8, sent_at=later),
            make_attempt(target="ep_1"),
            make_attempt(tenant="other"),
        ):
            deliveries.record_attempt(attempt)

        assert [attempt.number for attempt in deliveries.list_attempts(make_delivery())] == [1, 2]
        assert deliveries.list_attempts(make_delivery())[0] == make_attempt()
        assert len(deliveries.list_attempts_by_job(TENANT, JOB_ID)) == 4
        first_page = deliveries.list_attempts_by_target(TENANT, PREDICTION_TARGET, after=None, limit=2)
        assert [attempt.sent_at for attempt in first_page.attempts] == [later, later]
        last_page = deliveries.list_attempts_by_target(
            TENANT, PREDICTION_TARGET, after=first_page.next_position, limit=2
        )
        assert [attempt.sent_at for attempt in last_page.attempts] == [NOW]
        assert last_page.next_position is None

    def test_list_by_target_pages_by_creation_time(self, deliveries: DeliveryStore) -> None:
        for minute in range(5):
            created_at = NOW + timedelta(minutes=minute)
            deliveries.create(make_delivery(sequence=minute, created_at=created_at, target="ep_1"))
        deliveries.create(make_delivery(target="ep_2"))
        deliveries.create(make_delivery(target="ep_1", tenant="other"))

        since = NOW + timedelta(minutes=1)
        sequences: list[int] = []
        position = None
        while True:
            page = deliveries.list_by_target(
                TENANT, "ep_1", since=since, after=position, limit=3, oldest_first=True
            )
            sequences += [delivery.sequence for delivery in page.deliveries]
            position = page.next_position
            if position is None:
                break
        assert sequences == [1, 2, 3, 4]
        newest = deliveries.list_by_target(
            TENANT, "ep_1", since=None, after=None, limit=2, oldest_first=False
        )
        assert [delivery.sequence for delivery in newest.deliveries] == [4, 3]

    @pytest.mark.parametrize(("oldest_first", "sequences"), [(True, [3, 4]), (False, [])])
    def test_list_by_target_accepts_position_before_since(
        self, deliveries: DeliveryStore, oldest_first: bool, sequences: list[int]
    ) -> None:
        for minute in range(5):
            created_at = NOW + timedelta(minutes=minute)
            deliveries.create(make_delivery(sequence=minute, created_at=created_at, target="ep_1"))
        first = deliveries.list_by_target(TENANT, "ep_1", since=None, after=None, limit=1, oldest_first=True)

        page = deliveries.list_by_target(
            TENANT,
            "ep_1",
            since=NOW + timedelta(minutes=3),
            after=first.next_position,
            limit=10,
            oldest_first=oldest_first,
        )
        assert [delivery.sequence for delivery in page.deliveries] == sequences
        assert page.next_position is None

    def test_list_due_returns_deliveries_until_they_are_postponed(self, deliveries: DeliveryStore) -> None:
        deliveries.create(make_delivery(sequence=1, due_at=NOW))
        deliveries.create(make_delivery(sequence=2, due_at=NOW + timedelta(hours=1)))
        deliveries.create(make_delivery(sequence=3, due_at=None, status=DeliveryStatus.SUCCEEDED))

        (due,) = list_due(deliveries)
        command = due.command
        assert (command.tenant, command.job_id, command.sequence) == (TENANT, JOB_ID, 1)
        assert command.target == PREDICTION_TARGET

        deliveries.postpone(due, due_at=NOW + timedelta(minutes=5))
        assert list_due(deliveries) == []

    def test_postpone_keeps_the_time_since_which_a_delivery_is_paused(
        self, deliveries: DeliveryStore
    ) -> None:
        deliveries.create(make_delivery(due_at=NOW))
        for minutes in (0, 5):
            (due,) = list_due(deliveries)
            deliveries.postpone(due, due_at=NOW, paused_since=NOW + timedelta(minutes=minutes))

        delivery = deliveries.get(TENANT, JOB_ID, 7, PREDICTION_TARGET)
        assert delivery is not None
        assert delivery.paused_since == NOW

    def test_postpone_does_nothing_when_delivery_has_changed(self, deliveries: DeliveryStore) -> None:
        deliveries.create(make_delivery(due_at=NOW))
        (due,) = list_due(deliveries)
        delivery = deliveries.get(TENANT, JOB_ID, 7, PREDICTION_TARGET)
        assert delivery is not None
        deliveries.save(replace(delivery, due_at=None, status=DeliveryStatus.SUCCEEDED))

        deliveries.postpone(due, due_at=NOW + timedelta(minutes=5))

        delivery = deliveries.get(TENANT, JOB_ID, 7, PREDICTION_TARGET)
        assert delivery is not None
        assert delivery.due_at is None


class TestEndpointStore:
    def test_get_returns_every_field_of_own_tenant_only(self, endpoints: EndpointStore) -> None:
        secrets = rotate_secrets((generate_signing_secret(NOW),), now=NOW, overlap=timedelta(days=1))
        endpoint = make_endpoint(
            secrets=secrets,
            events=(EventKind.COMPLETED,),
            description="ours",
            disabled_reason=DisabledReason.GONE,
            disabled_at=NOW,
            unsearched_since=NOW - timedelta(days=1),
        )
        endpoints.create(endpoint)
        assert endpoints.get(TENANT, endpoint.id) == endpoint
        assert endpoints.get("other", endpoint.id) is None

    def test_list_all_returns_one_tenant_oldest_first(self, endpoints: EndpointStore) -> None:
        for endpoint_id in ("ep_b", "ep_a"):
            endpoints.create(make_endpoint(id=endpoint_id))
        endpoints.create(make_endpoint(tenant="other"))
        assert [endpoint.id for endpoint in endpoints.list_all(TENANT)] == ["ep_a", "ep_b"]

    def test_save_raises_conflict_when_revision_is_stale(self, endpoints: EndpointStore) -> None:
        endpoint = make_endpoint()
        endpoints.create(endpoint)
        endpoints.save(replace(endpoint, url="https://b.example/"))
        with pytest.raises(ConflictError):
            endpoints.save(replace(endpoint, url="https://c.example/"))

    def test_delete_returns_whether_endpoint_existed(self, endpoints: EndpointStore) -> None:
        endpoints.create(make_endpoint())
        assert not endpoints.delete("other", make_endpoint().id)
        assert endpoints.delete(TENANT, make_endpoint().id)
        assert not endpoints.delete(TENANT, make_endpoint().id)


class TestSigningSecretStore:
    def test_get_or_create_creates_one_secret_per_tenant(self, secrets: SigningSecretStore) -> None:
        (secret,) = secrets.get_or_create(TENANT, now=NOW)
        assert secrets.get_or_create(TENANT, now=NOW + timedelta(days=1)) == (secret,)
        assert secrets.get_or_create("other", now=NOW) != (secret,)

    def test_replace_raises_conflict_when_secrets_were_replaced(self, secrets: SigningSecretStore) -> None:
        old = secrets.get_or_create(TENANT, now=NOW)
        new = rotate_secrets(old, now=NOW, overlap=timedelta(days=1))
        secrets.replace(TENANT, old=old, new=new)
        with pytest.raises(ConflictError):
            secrets.replace(TENANT, old=old, new=new)
        assert secrets.get_or_create(TENANT, now=NOW) == new


class TestReceiverLimitStore:
    def test_acquire_slot_raises_until_a_slot_is_released(self, receiver_limits: ReceiverLimitStore) -> None:
        for number in range(16):
            receiver_limits.acquire_slot(TENANT, "ep_1", f"t{number}", now=NOW)
        with pytest.raises(ConcurrencyLimitError) as limit:
            receiver_limits.acquire_slot(TENANT, "ep_1", "t16", now=NOW)
        assert limit.value.consecutive_unanswered == 0
        receiver_limits.acquire_slot(TENANT, "ep_2", "t16", now=NOW)

        receiver_limits.release_slot(TENANT, "ep_1", "t3")
        receiver_limits.acquire_slot(TENANT, "ep_1", "t16", now=NOW)

    def test_acquire_slot_takes_over_expired_lease(self, receiver_limits: ReceiverLimitStore) -> None:
        for number in range(16):
            receiver_limits.acquire_slot(TENANT, "ep_1", f"t{number}", now=NOW)
        receiver_limits.acquire_slot(TENANT, "ep_1", "late", now=NOW + timedelta(seconds=61))
        health = receiver_limits.get(TENANT, "ep_1")
        assert health is not None
        assert health.in_flight == 16

    def test_unanswered_requests_reduce_slots_until_a_response(
        self, receiver_limits: ReceiverLimitStore
    ) -> None:
        for token in ("a", "b"):
            receiver_limits.acquire_slot(TENANT, "ep_1", token, now=NOW)
        for token, unanswered in (("a", 1), ("b", 2)):
            health = receiver_limits.record_response(TENANT, "ep_1", token, response=time_out(), now=NOW)
            assert health.consecutive_unanswered == unanswered

        receiver_limits.acquire_slot(TENANT, "ep_1", "probe", now=NOW)
        with pytest.raises(ConcurrencyLimitError) as limit:
            receiver_limits.acquire_slot(TENANT, "ep_1", "c", now=NOW)
        assert limit.value.consecutive_unanswered == 2

        health = receiver_limits.record_response(TENANT, "ep_1", "probe", response=respond(200), now=NOW)
        assert (health.consecutive_unanswered, health.consecutive_failures) == (0, 0)
        assert (health.failing_since, health.last_success_at) == (None, NOW)
        for number in range(16):
            receiver_limits.acquire_slot(TENANT, "ep_1", f"t{number}", now=NOW)

    def test_time_without_requests_begins_a_new_outage(self, receiver_limits: ReceiverLimitStore) -> None:
        failing_since = []
        for hours in (0, 47, 94, 94 + 49):
            now = NOW + timedelta(hours=hours)
            receiver_limits.acquire_slot(TENANT, "ep_1", f"t{hours}", now=now)
            health = receiver_limits.record_response(
                TENANT, "ep_1", f"t{hours}", response=respond(500), now=now
            )
            failing_since.append(health.failing_since)
        assert failing_since == [NOW, NOW, NOW, NOW + timedelta(hours=143)]
        assert (health.consecutive_failures, health.in_flight) == (4, 0)

        later = NOW + timedelta(hours=300)
        repeated = receiver_limits.record_response(TENANT, "ep_1", "t143", response=respond(500), now=later)
        assert (repeated.consecutive_failures, repeated.failing_since) == (4, failing_since[-1])

    def test_failures_are_counted_until_reset(self, receiver_limits: ReceiverLimitStore) -> None:
        for second in range(3):
            now = NOW + timedelta(seconds=second)
            receiver_limits.acquire_slot(TENANT, "ep_1", f"t{second}", now=now)
            health = receiver_limits.record_response(
                TENANT, "ep_1", f"t{second}", response=respond(500), now=now
            )
        assert (health.consecutive_failures, health.consecutive_unanswered) == (3, 0)
        assert health.failing_since == NOW

        receiver_limits.reset_failures(TENANT, "ep_1")
        receiver_limits.reset_failures(TENANT, "never_used")
        after_reset = receiver_limits.get(TENANT, "ep_1")
        assert after_reset is not None
        assert (after_reset.consecutive_failures, after_reset.failing_since) == (0, None)
