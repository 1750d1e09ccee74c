"""Creates of jobs and batches with a budget: repetitions reserve nothing, refusals store nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from replicate_proxy.auth.principal import Principal
from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.budget_store import DynamoBudgetedJobs, DynamoBudgetStore
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.budgets.model import BudgetContentionError, BudgetLimits, BudgetOwner
from replicate_proxy.errors import ApiError, NotWrittenError
from replicate_proxy.ids import min_id_at
from replicate_proxy.jobs.model import Submission, SubmissionKind
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.services.batches import BatchService
from replicate_proxy.services.ingest import JobCreator, JobFactory, JobRequest
from tests.support.aws import JOBS_TABLE, USAGE_TABLE, create_in_memory_aws
from tests.support.clock import NOW, FakeClock
from tests.support.fakes import FakeDocumentStore
from tests.support.usage import build_budget_gate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.contracts.commands import DispatchCommand

CALLER = Principal("acme", "key-1", has_budget=True)
TENANT = BudgetOwner("acme")


class Ingest:
    """Creates jobs that cost at most 40, of a tenant that may spend 100 a day."""

    def __init__(self) -> None:
        client, clock = create_in_memory_aws().client("dynamodb"), FakeClock()
        self.clock = clock
        DynamoBudgetStore(client, USAGE_TABLE).put_limits(TENANT, BudgetLimits(day_micro_usd=100))
        self.budgets = DynamoBudgetedJobs(client, USAGE_TABLE, JOBS_TABLE)
        self.jobs = DynamoJobStore(client, JOBS_TABLE)
        self.commands: list[DispatchCommand] = []
        shared: dict[str, Any] = {
            "idempotency": DynamoIdempotencyStore(client, JOBS_TABLE),
            "factory": JobFactory(FakeDocumentStore(), JobTimeouts()),
            "queue": self,
            "clock": clock,
            "budgets": build_budget_gate(self.budgets, clock),
        }
        self.creator = JobCreator(store=self.jobs, **shared)
        batch_store = DynamoBatchStore(client, JOBS_TABLE, self.jobs)
        self.batches = BatchService(
            store=batch_store, canceler=cast("Any", None), counts=cast("Any", None), **shared
        )

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        assert not delay_seconds
        self.commands.append(command)

    def send_all(self, commands: Sequence[DispatchCommand]) -> None:
        self.commands += commands

    @property
    def committed(self) -> int:
        (state,) = self.budgets.list_states([TENANT], NOW)
        return state.committed_micro_usd

    @property
    def stored_jobs(self) -> int:
        return len(self.jobs.list_jobs("acme", before_id=None, min_id=None, limit=100).jobs)


@pytest.fixture
def ingest() -> Ingest:
    return Ingest()


def build_request(key: str | None = None) -> JobRequest:
    return JobRequest(
        submission=Submission(kind=SubmissionKind.MODEL, owner="acme", name="model"),
        input={"prompt": "a cat"},
        public_base_url="https://proxy.test",
        correlation_id="c",
        idempotency_key=key,
    )


def test_repetition_reserves_nothing_even_when_the_budget_is_used_up(ingest: Ingest) -> None:
    first = ingest.creator.create(build_request("one"), CALLER)
    ingest.creator.create(build_request("two"), CALLER)
    with pytest.raises(ApiError):
        ingest.creator.create(build_request("three"), CALLER)

    repeated = ingest.creator.create(build_request("one"), CALLER)

    assert (repeated.is_replay, repeated.job.id, repeated.hold) == (True, first.job.id, None)
    assert first.hold is not None
    assert ingest.committed == 80


def test_refused_create_stores_and_queues_nothing(ingest: Ingest) -> None:
    for _ in range(2):
        ingest.creator.create(build_request(), CALLER)

    with pytest.raises(ApiError) as refused:
        ingest.creator.create(build_request(), CALLER)

    assert refused.value.status == 402
    assert (ingest.stored_jobs, len(ingest.commands), ingest.committed) == (2, 2, 80)


@pytest.mark.parametrize(
    "create",
    [
        lambda ingest: ingest.creator.create(build_request(), CALLER),
        lambda ingest: ingest.batches.create([build_request()] * 2, CALLER, None),
    ],
    ids=["job", "batch"],
)
def test_contention_is_no_create_that_may_have_been_recorded(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch, create: Callable[[Ingest], object]
) -> None:
    def conflict(*_: object, **_options: object) -> None:
        raise BudgetContentionError("busy")

    monkeypatch.setattr(ingest.budgets, "create", conflict)

    with pytest.raises(NotWrittenError) as refused:
        create(ingest)

    assert refused.value.retry_after == 1


def test_refused_create_leaves_its_key_free(ingest: Ingest) -> None:
    """The create that succeeds later has the ID of its own time, and holds the key for a whole day."""
    for _ in range(2):
        ingest.creator.create(build_request(), CALLER)
    with pytest.raises(ApiError):
        ingest.creator.create(build_request("three"), CALLER)
    ingest.clock.advance(24 * 3600 - 60)

    created = ingest.creator.create(build_request("three"), CALLER)
    ingest.clock.advance(120)

    assert created.job.id >= min_id_at(created.job.created_at)
    assert ingest.creator.create(build_request("three"), CALLER).is_replay


def test_batch_reserves_as_a_whole_or_not_at_all(ingest: Ingest) -> None:
    with pytest.raises(ApiError) as refused:
        ingest.batches.create([build_request() for _ in range(3)], CALLER, None)
    assert refused.value.status == 402
    assert (ingest.stored_jobs, ingest.committed) == (0, 0)

    created = ingest.batches.create([build_request() for _ in range(2)], CALLER, "batch")
    repeated = ingest.batches.create([build_request() for _ in range(2)], CALLER, "batch")

    assert repeated.is_replay
    assert [job.id for job in repeated.jobs] == [job.id for job in created.jobs]
    assert (ingest.stored_jobs, ingest.committed) == (2, 80)


def test_caller_without_a_budget_is_not_limited(ingest: Ingest) -> None:
    for _ in range(4):
        result = ingest.creator.create(build_request(), Principal("acme", "key-2"))
        assert (result.hold, result.job.reservation) == (None, None)

    assert ingest.committed == 0
