"""What is known about models without asking Replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.contracts.stream_urls import KnownStream, StreamKind
from replicate_proxy.errors import ApiError, RetryableError
from replicate_proxy.jobs.model import Account, Submission, SubmissionKind
from replicate_proxy.replicate_api.errors import RejectedError
from replicate_proxy.replicate_api.known_models import KnownModels
from replicate_proxy.replicate_api.models import UpstreamPrediction
from tests.support.aws import CONTROL_TABLE
from tests.support.builders import VERSION
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

MODEL = Submission(kind=SubmissionKind.MODEL, owner="acme", name="sdxl")
DEPLOYMENT = Submission(kind=SubmissionKind.DEPLOYMENT, owner="acme", name="sdxl")
BY_NAME = Submission(kind=SubmissionKind.VERSION, version="acme/sdxl")
BY_ID = Submission(kind=SubmissionKind.VERSION, version=VERSION)
BY_BOTH = Submission(kind=SubmissionKind.VERSION, version=f"acme/sdxl:{VERSION}")


class CountingTable(ControlTable):
    """The control table; counts its calls, and fails while it is `unavailable`."""

    calls = 0
    unavailable = False

    def read(self, key: str):  # type: ignore[no-untyped-def]  # passed on
        self._count()
        return super().read(key)

    def update(self, *arguments, **options):  # type: ignore[no-untyped-def]  # passed on
        self._count()
        return super().update(*arguments, **options)

    def _count(self) -> None:
        self.calls += 1
        if self.unavailable:
            raise RetryableError("the table is unavailable")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def table(dynamodb: DynamoDBClient) -> CountingTable:
    return CountingTable(dynamodb, CONTROL_TABLE)


@pytest.fixture
def models(table: CountingTable, clock: FakeClock) -> KnownModels:
    return KnownModels(table, clock, monotonic=clock.monotonic)


@pytest.fixture
def elsewhere(table: CountingTable, clock: FakeClock) -> KnownModels:
    """The same table in another execution environment."""
    return KnownModels(table, clock, monotonic=clock.monotonic)


def make_prediction(**fields: str) -> UpstreamPrediction:
    body = {"id": "p1", "model": "acme/sdxl", "version": VERSION, "status": "starting", **fields}
    return UpstreamPrediction.parse(body)


def is_missing(models: KnownModels, submission: Submission) -> int | None:
    """Return the status of the error, None without one."""
    try:
        models.check(submission)
    except ApiError as error:
        return error.status
    return None


@pytest.mark.parametrize("submission", [BY_ID, BY_BOTH])
def test_accepted_version_is_known_elsewhere(
    models: KnownModels, elsewhere: KnownModels, submission: Submission
) -> None:
    models.record_accepted(submission, make_prediction())
    assert elsewhere.find_model(VERSION) == "acme/sdxl"


@pytest.mark.parametrize(
    ("submission", "fields"),
    [
        (MODEL, {}),
        (MODEL, {"version": "hidden"}),
        (BY_NAME, {}),
        (BY_ID, {"version": "b" * 64}),
        (BY_ID, {"model": ""}),
    ],
)
def test_other_acceptance_makes_no_version_known(
    models: KnownModels, submission: Submission, fields: dict[str, str]
) -> None:
    models.record_accepted(submission, make_prediction(**fields))
    assert models.find_model(VERSION) is None


@pytest.mark.parametrize("version_id", ["", "hidden", "acme/sdxl", "A" * 64, "a" * 2000])
def test_text_that_is_no_version_id_is_not_looked_up(
    models: KnownModels, table: CountingTable, version_id: str
) -> None:
    assert models.find_model(version_id) is None
    models.record_version(version_id, "acme/sdxl")
    assert table.calls == 0


@pytest.mark.parametrize(
    ("submission", "error", "status"),
    [
        (MODEL, RejectedError(404, "Not found", ""), 404),
        (DEPLOYMENT, RejectedError(404, "Not found", ""), 404),
        (BY_NAME, RejectedError(404, "", "The requested resource could not be found."), 404),
        (BY_ID, RejectedError(422, "Invalid version or not permitted", ""), 422),
        (BY_BOTH, RejectedError(422, "Invalid version or not permitted", ""), 422),
        (BY_ID, RejectedError(422, "Input validation failed", ""), None),
        (MODEL, RejectedError(402, "Billing required", ""), None),
    ],
)
def test_missing_target_is_known_for_a_minute(
    models: KnownModels,
    elsewhere: KnownModels,
    clock: FakeClock,
    submission: Submission,
    error: RejectedError,
    status: int | None,
) -> None:
    models.record_rejected(submission, error)
    assert is_missing(models, submission) == is_missing(elsewhere, submission) == status
    clock.advance(61)
    assert is_missing(models, submission) is is_missing(elsewhere, submission) is None


def test_model_and_deployment_of_the_same_name_are_two_targets(models: KnownModels) -> None:
    models.record_missing("deployments/acme/sdxl")
    assert (is_missing(models, DEPLOYMENT), is_missing(models, MODEL)) == (404, None)


def test_reads_are_cached_for_some_seconds(
    models: KnownModels, elsewhere: KnownModels, table: CountingTable, clock: FakeClock
) -> None:
    for _ in range(20):
        models.check(MODEL)
        models.find_model(VERSION)
    assert table.calls == 2
    elsewhere.record_version(VERSION, "acme/sdxl")
    clock.advance(11)
    assert models.find_model(VERSION) == "acme/sdxl"
    clock.advance(3600)
    table.calls = 0
    assert models.find_model(VERSION) == "acme/sdxl"
    elsewhere.record_version(VERSION, "acme/sdxl")
    assert table.calls == 0


def test_nothing_is_known_while_the_table_is_unavailable(models: KnownModels, table: CountingTable) -> None:
    table.unavailable = True
    models.record_missing("models/acme/sdxl")
    models.record_accepted(BY_ID, make_prediction())
    assert is_missing(models, MODEL) is None
    assert models.find_model(VERSION) is None


def test_what_was_read_last_counts_while_the_table_is_unavailable(
    models: KnownModels, elsewhere: KnownModels, table: CountingTable, clock: FakeClock
) -> None:
    stream = KnownStream(StreamKind.TEXT, "https://outputs.test")
    elsewhere.record_stream(MODEL, stream)
    assert models.find_stream(MODEL) == stream

    table.unavailable = True
    clock.advance(3600)

    assert models.find_stream(MODEL) == stream


@pytest.mark.parametrize("kind", StreamKind)
def test_stream_of_a_target_is_found_by_all_its_names(
    models: KnownModels, table: CountingTable, clock: FakeClock, kind: StreamKind
) -> None:
    stream = KnownStream(kind, "https://outputs.test")
    models.record_stream(MODEL, stream)
    others = KnownModels(table, clock)

    assert (others.find_stream(MODEL), others.find_stream(BY_NAME)) == (stream, stream)
    assert (others.find_stream(DEPLOYMENT), others.find_stream(BY_ID)) == (None, None)


def test_stream_is_written_once_until_it_changes(models: KnownModels, table: CountingTable) -> None:
    stream = KnownStream(StreamKind.TEXT, "https://outputs.test")
    models.record_stream(BY_ID, stream)
    calls = table.calls
    models.record_stream(BY_BOTH, stream)
    assert table.calls == calls

    models.record_stream(BY_ID, KnownStream(StreamKind.NONE, "https://outputs.test"))
    found = models.find_stream(BY_BOTH)
    assert found is not None
    assert found.kind is StreamKind.NONE


def test_no_stream_is_known_when_the_table_is_unavailable(models: KnownModels, table: CountingTable) -> None:
    table.unavailable = True
    models.record_stream(MODEL, KnownStream(StreamKind.TEXT, "https://outputs.test"))

    assert models.find_stream(MODEL) is None


class TestOwnAccount:
    """What a tenant's account knows is neither shown to others nor taken from them."""

    OWN = Account("acme", "own")
    STREAM = KnownStream(StreamKind.TEXT, "https://outputs.test")

    def test_missing_model_is_missing_for_the_account_alone(self, models: KnownModels) -> None:
        models.record_missing("models/acme/sdxl", self.OWN)
        models.check(MODEL)
        models.check(MODEL, Account("globex", "own"))
        with pytest.raises(ApiError):
            models.check(MODEL, self.OWN)

    def test_model_of_a_version_is_known_to_the_account_alone(self, models: KnownModels) -> None:
        models.record_version(VERSION, "acme/private", self.OWN)
        assert models.find_model(VERSION, self.OWN) == "acme/private"
        assert models.find_model(VERSION) is None

    def test_stream_of_a_model_is_known_to_the_account_alone(self, models: KnownModels) -> None:
        models.record_stream(MODEL, self.STREAM, self.OWN)
        assert models.find_stream(MODEL, self.OWN) == self.STREAM
        assert models.find_stream(MODEL) is None
