"""Erasure of a tenant with all of its rows, objects and secrets, whatever fails, and nothing of others."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from replicate_proxy.audit.actor import acting_as
from replicate_proxy.auth.principal import Scope
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.operations.erasure.model import ErasureStatus, ErasureStep
from tests.support.access import STAGE, make_key
from tests.support.aws import make_client_error
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.deletion import CallCounter, Crash, make_stored_event
from tests.support.erasure import OPERATOR, StoredTenants
from tools.simulation.resources import Table
from tools.template.stack import load_stack

S = JobStatus
# Of the erasure of a tenant that has one or two of everything.
MAX_CALLS = 400


@pytest.fixture
def stored() -> StoredTenants:
    tenants = StoredTenants()
    tenants.add_tenant("globex")
    tenants.add_tenant("acme")
    return tenants


def test_erased_tenant_leaves_nothing_and_another_keeps_everything(stored: StoredTenants) -> None:
    others = stored.list_all("globex")
    assert len(stored.list_all("acme")) == len(others) > 100

    stored.start()
    erasure = stored.work_until_completed()

    assert stored.list_all("acme") == set()
    assert stored.list_all("globex") == others
    assert erasure.status is ErasureStatus.COMPLETED


def test_report_counts_each_kind(stored: StoredTenants) -> None:
    stored.start()
    removed = stored.work_until_completed().removed

    assert removed["predictions"] == 3
    assert removed["keys"] == 2
    assert removed["file_records"] == 2
    assert removed["uploaded_files"] == 1
    assert removed["batches"] == 2
    assert {"endpoints", "signing_secrets", "receivers", "budgets", "slots", "console_links"} <= set(removed)
    assert all(count > 0 for count in removed.values())


def test_tables_and_prefixes_of_the_stack_are_all_searched(stored: StoredTenants) -> None:
    """A new table, or a prefix that the template names, has to be added to the places of the worker."""
    tables = {place._table for place in stored.worker.places if hasattr(place, "_table")}
    prefixes = {
        place._build_prefix("acme").split("/")[0]
        for place in stored.worker.places
        if hasattr(place, "_build_prefix")
    }
    rules = load_stack().resources["DataBucket"].properties["LifecycleConfiguration"]["Rules"]

    # The audit trail stays.
    assert tables == {resource.id for resource in load_stack().of_type("DynamoDB::Table")} - {"AuditTable"}
    assert {rule["Prefix"].rstrip("/") for rule in rules if "Prefix" in rule} <= prefixes
    assert prefixes == {"outputs", "originals", "thumbs", "private", "records", "events", "files", "batches"}


def test_every_table_and_prefix_has_something_of_the_tenants_of_this_test(stored: StoredTenants) -> None:
    """Otherwise the test that nothing is left would prove little."""
    names = stored.list_all("acme")

    for table in (Table.JOBS, Table.ACCESS, Table.DELIVERIES, Table.CONTROL, Table.USAGE):
        assert any(name.startswith(f"{table}:") for name in names)
    for place in stored.worker.places:
        if hasattr(place, "_build_prefix"):
            assert any(name.startswith(place._build_prefix("acme")) for name in names)


def test_content_is_gone_before_the_ids(stored: StoredTenants) -> None:
    stored.start()
    for _ in range(20):
        stored.work()
        stored.run_sweep()
        stored.clock.advance(minutes=1)

    erasure = stored.service.get("acme")
    assert erasure.status is ErasureStatus.EMPTIED
    assert erasure.tombstones_until is not None
    assert erasure.tombstones_until - NOW >= timedelta(hours=25)
    left = stored.list_all("acme") - {"acme-tokens"}  # goes with the mark that keeps the tenant out
    kinds = {name.split("'pk': '")[1].partition("'")[0].split("#")[0] for name in left}
    # Records of deletions, what recognizes late messages, and the marks of the tenant and of the erasure.
    assert kinds == {"JOB", "PREDICTION", "COUNTED", "TENANTS", "BULK"}


def test_crash_at_any_call_leaves_nothing_in_the_end_and_counts_once() -> None:
    """The process ends before each call, which is after the effect of the call before."""
    expected = run_with_crash(None)
    for crash_at in range(1, MAX_CALLS):
        removed = run_with_crash(crash_at)
        if removed is None:
            break
        assert removed == expected, f"crash at call {crash_at}"
    else:
        pytest.fail("an erasure has more calls than are tested")
    assert crash_at > 100


def run_with_crash(crash_at: int | None) -> dict[str, int] | None:
    """Erase a tenant whose worker ends at one call; return the counts, None if it has fewer calls."""
    stored = StoredTenants()
    stored.add_tenant("acme", event_count=1)
    stored.add("globex")
    others = stored.list_all("globex")
    counter = CallCounter(crash_at=crash_at)
    stored.start()
    has_crashed = crash_at is None
    for minutes in (0, 17, 1, 17, 1, 60 * 27, 10):
        stored.clock.advance(minutes=minutes)
        if minutes > 20:
            stored.run_sweep()
        try:
            stored.work(counter)
        except Crash:
            has_crashed = True
    if not has_crashed:
        return None
    erasure = stored.work_until_completed()
    assert stored.list_all("acme") == set(), f"crash at call {crash_at}"
    assert stored.list_all("globex") == others, f"crash at call {crash_at}"
    return dict(erasure.removed)


def test_request_that_ends_at_any_call_erases_nothing_or_all() -> None:
    """An erasure that exists goes on, also if the operator was told nothing and does not ask again."""
    outcomes = set()
    for end_at in range(1, MAX_CALLS):
        stored = StoredTenants()
        stored.add_tenant("acme", event_count=1)
        stored.aws.gate = CallCounter(crash_at=end_at)
        try:
            stored.start()
        except Crash:
            stored.aws.gate = stored.perform_alone
        else:
            break
        exists = stored.erasures.get("acme") is not None
        outcomes.add(exists)
        if exists:
            stored.work_until_completed()
            assert stored.list_all("acme") == set(), f"end at call {end_at}"
    assert outcomes == {False, True}


def test_failed_call_is_repeated_by_the_next_run(stored: StoredTenants) -> None:
    stored.start()
    counter = CallCounter(crash_at=9, fails_with=make_client_error("InternalServerError"))
    stored.work(counter)
    assert counter.count >= 9

    stored.work_until_completed()

    assert stored.list_all("acme") == set()


class TestAccess:
    def test_keys_stop_at_once_and_the_cache_is_flushed(self, stored: StoredTenants) -> None:
        stored.start()

        assert all(key.revoked_at is not None for key in stored.keys.list(tenant="acme"))
        assert all(key.revoked_at is None for key in stored.keys.list(tenant="globex"))
        assert stored.gateway.flushed_stages == [STAGE]
        assert stored.starter.count == 1
        tenant = stored.tenants.get("acme")
        assert tenant is not None
        assert tenant.erasing_since == NOW

    def test_key_that_was_created_at_the_same_time_is_revoked_by_the_worker(
        self, stored: StoredTenants
    ) -> None:
        stored.start()
        key, _ = make_key(tenant="acme")
        stored.keys.create(key)

        stored.work()

        keys = stored.keys.list(tenant="acme")
        assert key.id in [key.id for key in keys]
        assert all(key.revoked_at is not None for key in keys)

    def test_name_is_free_after_the_end_only(self, stored: StoredTenants) -> None:
        stored.start()
        tenant = stored.tenants.get("acme")
        assert tenant is not None
        with pytest.raises(ApiError, match="being erased"):
            tenant.check_not_erasing(409)

        stored.work_until_completed()

        assert stored.tenants.get("acme") is None

    def test_later_tenant_of_the_name_is_left_alone_and_can_be_erased(self, stored: StoredTenants) -> None:
        stored.start()
        stored.work_until_completed()
        stored.add("acme", key="of the later tenant", created_at=stored.clock.now())
        another = stored.tenants.save(Tenant("acme", display_name="another"))

        stored.clock.advance(hours=1)
        stored.work()
        assert stored.tenants.get("acme") == another
        assert stored.jobs.list_jobs("acme", before_id=None, min_id=None, limit=9).jobs

        first = stored.service.get("acme")
        second = stored.start()
        assert second.started_at > first.started_at
        stored.work_until_completed()
        assert stored.list_all("acme") == set()


class TestStart:
    @pytest.mark.parametrize("confirm", ["", "Acme", "globex", "acme "])
    def test_name_has_to_be_confirmed(self, stored: StoredTenants, confirm: str) -> None:
        before = stored.list_all("acme")
        with acting_as(OPERATOR), pytest.raises(ApiError) as raised:
            stored.service.start("acme", confirm, STAGE)

        assert (raised.value.status, raised.value.invalid_fields[0].field) == (422, "confirm")
        assert stored.list_all("acme") == before
        assert stored.service.find("acme") is None

    def test_unknown_tenant_is_not_found(self, stored: StoredTenants) -> None:
        with acting_as(OPERATOR), pytest.raises(NotFoundError):
            stored.service.start("initech", "initech", STAGE)
        with pytest.raises(NotFoundError):
            stored.service.get("initech")

    def test_tenant_of_operators_is_refused(self, stored: StoredTenants) -> None:
        key, _ = make_key(tenant="acme", scopes=frozenset({Scope.ADMIN}))
        stored.keys.create(key)

        with acting_as(OPERATOR), pytest.raises(ApiError) as raised:
            stored.service.start("acme", "acme", STAGE)

        assert raised.value.status == 409
        assert stored.service.find("acme") is None

    def test_repeated_start_returns_the_erasure_that_goes_on(self, stored: StoredTenants) -> None:
        first = stored.start()
        stored.clock.advance(minutes=1)
        with acting_as(OPERATOR):
            second, is_started = stored.service.start("acme", "acme", STAGE)

        assert (second.started_at, is_started) == (first.started_at, False)


class TestPredictions:
    def test_nothing_is_removed_before_running_predictions_have_ended(self, stored: StoredTenants) -> None:
        running = stored.add_running("acme")
        queued = stored.add_running("acme", S.QUEUED)
        objects = stored.list_objects()
        stored.start()

        stored.work()

        assert [command.job_id for command, _ in stored.commands.sent] == [running.id]
        assert stored.jobs.get("acme", queued.id) is None
        erasure = stored.service.get("acme")
        assert (erasure.step, erasure.unfinished) == (ErasureStep.PREDICTIONS, 1)
        for _ in range(60):
            stored.clock.advance(minutes=1)
            stored.work()
        assert stored.list_objects() == objects
        # The sweep repeats a lost cancel, not the erasure.
        assert len(stored.commands.sent) == 1

        stored.end_job(running)
        erasure = stored.work_until_completed()
        assert stored.list_all("acme") == set()
        assert erasure.removed["predictions"] == 5

    def test_prediction_that_is_created_late_is_ended_as_well(self, stored: StoredTenants) -> None:
        """Its request was accepted before the keys were revoked."""
        stored.start()
        stored.work()
        stored.clock.advance(minutes=10)
        late = stored.add_running("acme", S.QUEUED)

        stored.clock.advance(minutes=7)
        stored.work()

        assert stored.jobs.get("acme", late.id) is None
        assert stored.service.get("acme").step is ErasureStep.PREDICTIONS
        stored.work_until_completed()
        assert stored.list_all("acme") == set()

    def test_large_batches_create_no_further_predictions(self, stored: StoredTenants) -> None:
        stored.start()
        stored.work()

        is_canceled = {
            tenant: [
                batch.large.cancel_requested_at is not None
                for batch in stored.batches.list_batches(tenant, before_id=None, limit=9)
                if batch.large is not None
            ]
            for tenant in ("acme", "globex")
        }
        assert is_canceled == {"acme": [True], "globex": [False]}

    def test_many_predictions_are_deleted_in_pages(self, stored: StoredTenants) -> None:
        for number in range(250):
            stored.jobs.create(
                make_job(S.SUCCEEDED, revision=0, created_at=NOW - timedelta(days=9, seconds=number))
            )
        stored.start()

        assert stored.work_until_completed().removed["predictions"] == 253

    def test_late_content_is_removed_by_the_last_pass(self, stored: StoredTenants) -> None:
        """A harvester, a delivery and the usage function were late."""
        stored.start()
        for _ in range(20):
            stored.clock.advance(minutes=1)
            stored.work()
        assert stored.service.get("acme").status is ErasureStatus.EMPTIED
        job = make_job(S.SUCCEEDED)
        stored.put_objects(job)
        stored.deliveries.create_event(make_stored_event(job, 1))
        stored._dynamodb.put_item(
            TableName=Table.USAGE, Item={"pk": {"S": "BUDGET#acme"}, "sk": {"S": "TENANT#2026-11"}}
        )

        stored.work_until_completed()

        assert stored.list_all("acme") == set()


class TestWorker:
    def test_second_worker_does_nothing(self, stored: StoredTenants) -> None:
        stored.start()
        now = stored.clock.now()
        with stored.worker.lease.hold(now + timedelta(seconds=29)) as is_free:
            assert is_free
            stored.work()

        assert stored.service.get("acme").revision == 1

    def test_one_that_fails_does_not_stop_another(self, stored: StoredTenants) -> None:
        stored.start("acme")
        stored.start("globex")
        list_jobs = stored.jobs.list_jobs

        def fail_for_acme(tenant: str, **options: Any) -> Any:
            if tenant == "acme":
                raise ValueError("a bug")
            return list_jobs(tenant, **options)

        stored.jobs.list_jobs = fail_for_acme  # type: ignore[method-assign]  # this test only
        stored.work()

        assert stored.service.get("acme").found == 0
        assert stored.service.get("globex").quiet_until is not None

    def test_mark_says_when_it_is_due(self, stored: StoredTenants) -> None:
        marks = stored.erasures._marks
        assert not marks.has_work(stored.clock.now())
        stored.start()
        assert marks.has_work(stored.clock.now())
        assert marks.list_ids() == []

        stored.work()

        assert not marks.has_work(stored.clock.now())
        assert marks.has_work(stored.clock.now() + timedelta(minutes=17))
        stored.work_until_completed()
        assert not marks.has_work(stored.clock.now() + timedelta(days=9))


def test_start_and_both_ends_are_in_the_audit_trail(stored: StoredTenants) -> None:
    stored.start()
    removed = stored.work_until_completed().removed

    records = stored.audit_store.list_chain(after_position=None, limit=10)
    by_action = {record.action: record for record in records}
    assert list(by_action) == ["erasure.start", "erasure.empty", "erasure.end"]
    assert {(record.tenant, record.key_id) for record in records} == {("acme", "op")}
    assert json.loads(by_action["erasure.start"].before)["valid_keys"] == 2
    assert json.loads(by_action["erasure.end"].after)["removed"] == removed


def test_expiry_of_the_report_is_a_year_after_the_end(stored: StoredTenants) -> None:
    stored.start()
    record: Any = stored._dynamodb.get_item(
        TableName=Table.JOBS, Key={"pk": {"S": "ERASURES"}, "sk": {"S": "acme"}}
    )
    assert "expires_at" not in record["Item"]

    erasure = stored.work_until_completed()

    record = stored._dynamodb.get_item(
        TableName=Table.JOBS, Key={"pk": {"S": "ERASURES"}, "sk": {"S": "acme"}}
    )
    assert erasure.completed_at is not None
    expires_at = int(record["Item"]["expires_at"]["N"])
    assert expires_at == int((erasure.completed_at + timedelta(days=365)).timestamp())
