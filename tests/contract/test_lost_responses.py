"""The SDK repeats a write whose response is lost: no conditional write takes its own effect for another's."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore, DynamoSigningSecretStore
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.receiver_limit_store import DynamoReceiverLimitStore
from replicate_proxy.errors import ConflictError
from replicate_proxy.jobs.model import Batch
from replicate_proxy.ports import IdempotencyRecord
from replicate_proxy.replicate_api.circuit_breaker_store import BreakerStore
from replicate_proxy.webhooks.endpoints import MissedSearch
from replicate_proxy.webhooks.ports import DeliveryPosition, DueEndpoint
from replicate_proxy.webhooks.receiver_limits import ConcurrencyLimitError
from replicate_proxy.webhooks.settings import DeliverySettings
from replicate_proxy.webhooks.signing_secrets import rotate_secrets
from tests.support.access import make_key
from tests.support.builders import make_job
from tests.support.clock import NOW, FakeClock
from tests.support.webhook_builders import TENANT, make_delivery, make_endpoint
from tests.support.webhook_fakes import respond, time_out
from tools.simulation.aws import InMemoryAws
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.aws import Call

SETTINGS = DeliverySettings(max_concurrency=2)
RECEIVER = "ep_1"


@pytest.fixture
def client() -> Any:
    """A client of DynamoDB whose every write is performed twice; the caller sees the second response."""
    aws = InMemoryAws.from_template(NOW.timestamp)

    def repeat_writes(call: Call, perform: Callable[[], Any]) -> Any:
        if call.is_write:
            perform()
        return perform()

    aws.gate = repeat_writes
    return aws.client("dynamodb")


def test_delivery_is_created_and_saved(client: Any) -> None:
    store = DynamoDeliveryStore(client, Table.DELIVERIES, due_shards=8)
    delivery = make_delivery()
    assert store.create(delivery)
    assert store.save(delivery).revision == 1
    assert not store.create(delivery)


def test_endpoint_is_created_and_saved(client: Any) -> None:
    store = DynamoEndpointStore(client, Table.DELIVERIES)
    endpoint = make_endpoint()
    store.create(endpoint)
    assert store.save(endpoint).revision == 1


def test_endpoint_is_due_while_it_is_searched(client: Any) -> None:
    store = DynamoEndpointStore(client, Table.DELIVERIES)
    deliveries = DynamoDeliveryStore(client, Table.DELIVERIES, due_shards=8)
    endpoint = make_endpoint()
    store.create(endpoint)
    after = DeliveryPosition("01", "DELIVERY#ep_1#000000000001", "2026-01-01T00:00:00Z")
    search = MissedSearch(disabled_at=NOW - timedelta(days=1), due_at=NOW, after=after)
    saved = store.save(replace(endpoint, missed_search=search))
    assert store.get(endpoint.tenant, endpoint.id) == saved
    due = DueEndpoint(endpoint.tenant, endpoint.id, NOW)
    assert deliveries.list_due(0, before=NOW, limit=10) == [due]
    store.save(replace(saved, missed_search=None))
    assert deliveries.list_due(0, before=NOW, limit=10) == []


def test_signing_secrets_are_created_and_replaced(client: Any) -> None:
    store = DynamoSigningSecretStore(client, Table.DELIVERIES)
    old = store.get_or_create(TENANT, now=NOW)
    new = rotate_secrets(old, now=NOW, overlap=timedelta(hours=1))
    store.replace(TENANT, old=old, new=new)
    assert store.get_or_create(TENANT, now=NOW) == new


def test_key_is_created_and_saved(client: Any) -> None:
    store = DynamoKeyStore(client, Table.ACCESS)
    key, _ = make_key()
    store.create(key)
    assert store.save(replace(key, name="ci")) == store.get(key.id)


def test_job_is_created_and_saved(client: Any) -> None:
    store = DynamoJobStore(client, Table.JOBS)
    job = make_job(id="01")
    with suppress(ConflictError):  # JobCreator compares the job with the stored one.
        store.create(job)
    assert store.save(replace(job, revision=1)).revision == 2


def test_batch_is_created(client: Any) -> None:
    jobs = DynamoJobStore(client, Table.JOBS)
    store = DynamoBatchStore(client, Table.JOBS, jobs)
    batch = Batch(
        tenant=TENANT,
        id="b1",
        created_at=NOW,
        public_base_url="https://proxy.test",
        job_ids=("01",),
        expires_at=1,
    )
    store.create(batch, [make_job(tenant=TENANT, id="01")])
    assert store.get(TENANT, "b1") == batch


def test_idempotency_key_is_claimed(client: Any) -> None:
    store = DynamoIdempotencyStore(client, Table.JOBS)
    record = IdempotencyRecord(tenant=TENANT, key="k", fingerprint="f", reserved_id="01")
    assert store.claim(record, now=NOW) == record
    assert store.claim(replace(record, reserved_id="02"), now=NOW) == record


def test_lease_is_held(client: Any) -> None:
    lease = Lease(ControlTable(client, Table.CONTROL), "sweep", FakeClock())
    for _ in range(2):
        with lease.hold(until=NOW + timedelta(minutes=1)) as is_free:
            assert is_free
            with lease.hold(until=NOW + timedelta(minutes=1)) as is_free_beside:
                assert not is_free_beside


def test_last_and_expired_slots_are_taken(client: Any) -> None:
    store = DynamoReceiverLimitStore(client, Table.DELIVERIES, SETTINGS)
    for token in ("a", "b"):
        store.acquire_slot(TENANT, RECEIVER, token, now=NOW)
    with pytest.raises(ConcurrencyLimitError):
        store.acquire_slot(TENANT, RECEIVER, "c", now=NOW)
    later = NOW + timedelta(seconds=SETTINGS.lease_seconds)
    for token in ("d", "e"):
        store.acquire_slot(TENANT, RECEIVER, token, now=later)
    with pytest.raises(ConcurrencyLimitError):
        store.acquire_slot(TENANT, RECEIVER, "f", now=later)


def test_responses_of_receiver_count_once(client: Any) -> None:
    store = DynamoReceiverLimitStore(client, Table.DELIVERIES, SETTINGS)
    for count, token in enumerate(("a", "b"), start=1):
        store.acquire_slot(TENANT, RECEIVER, token, now=NOW)
        health = store.record_response(TENANT, RECEIVER, token, response=time_out(), now=NOW)
        assert (health.consecutive_unanswered, health.consecutive_failures) == (count, count)
    store.acquire_slot(TENANT, RECEIVER, "c", now=NOW)
    health = store.record_response(TENANT, RECEIVER, "c", response=respond(200), now=NOW)
    assert (health.consecutive_failures, health.in_flight) == (0, 0)


def test_breaker_counts_opens_probes_and_closes(client: Any) -> None:
    clock = FakeClock()
    table = ControlTable(client, Table.CONTROL)
    store, other = (BreakerStore(table, clock, cache_seconds=0, probe_lease_seconds=60) for _ in range(2))
    store.count_failure()
    store.count_failure()
    assert store.read().failures == 2
    store.open("test", seconds=30)
    clock.advance(seconds=30)
    assert store.claim_probe()
    assert not other.claim_probe()
    other.open("straggler", seconds=30)
    assert store.owns_probe(store.read())
    store.close()
    assert (other.read().state, other.read().failures) == ("closed", 0)
