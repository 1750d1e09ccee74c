"""Records of input schemas in the control table."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.aws.control_table import ControlTable, Record
from replicate_proxy.errors import RetryableError
from replicate_proxy.input_schemas.known_schemas import MAX_RECORD_CHARACTERS, KnownSchemas
from tests.support.aws import CONTROL_TABLE
from tests.support.builders import VERSION
from tests.support.clock import FakeClock
from tests.support.schemas import IMAGE_RULES, make_rules

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

MODEL = "models/acme/painter"
OF_VERSION = f"versions/{VERSION}"
HOUR = 3600


class CountingTable(ControlTable):
    """The control table; counts reads, and fails while it is `unavailable`."""

    reads = 0
    unavailable = False

    def read(self, key: str) -> Record:
        self.reads += 1
        if self.unavailable:
            raise RetryableError("the table is unavailable")
        return super().read(key)

    def update(self, *arguments, **options):  # type: ignore[no-untyped-def]  # passed on
        if self.unavailable:
            raise RetryableError("the table is unavailable")
        return super().update(*arguments, **options)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def table(dynamodb: DynamoDBClient) -> CountingTable:
    return CountingTable(dynamodb, CONTROL_TABLE)


@pytest.fixture
def schemas(table: CountingTable, clock: FakeClock) -> KnownSchemas:
    return KnownSchemas(table, clock, monotonic=clock.monotonic)


@pytest.fixture
def elsewhere(dynamodb: DynamoDBClient, clock: FakeClock) -> KnownSchemas:
    """Another execution environment."""
    return KnownSchemas(ControlTable(dynamodb, CONTROL_TABLE), clock, monotonic=clock.monotonic)


def test_unknown_schema_is_found_seconds_after_it_was_recorded_elsewhere(
    schemas: KnownSchemas, elsewhere: KnownSchemas, clock: FakeClock
) -> None:
    assert schemas.find(MODEL) is None
    elsewhere.record(MODEL, IMAGE_RULES)
    clock.advance(4)

    found = schemas.find(MODEL)

    assert found is not None
    assert found.rules == IMAGE_RULES


def test_schema_of_a_model_is_valid_for_an_hour_and_of_a_version_for_long(
    schemas: KnownSchemas, clock: FakeClock
) -> None:
    schemas.record(MODEL, IMAGE_RULES)
    schemas.record(OF_VERSION, IMAGE_RULES)
    clock.advance(HOUR + 1)

    assert schemas.find(MODEL) is None
    assert schemas.find(OF_VERSION) is not None


def test_schema_of_a_model_is_due_before_it_ends_to_be_valid(schemas: KnownSchemas, clock: FakeClock) -> None:
    schemas.record(MODEL, IMAGE_RULES)
    schemas.record(OF_VERSION, IMAGE_RULES)
    assert not schemas.is_due(MODEL)
    clock.advance(50 * 60)

    assert schemas.is_due(MODEL)
    assert not schemas.is_due(OF_VERSION)
    assert schemas.find(MODEL) is not None


def test_schema_is_asked_for_once_in_ten_minutes(
    schemas: KnownSchemas, elsewhere: KnownSchemas, clock: FakeClock
) -> None:
    assert schemas.is_due(MODEL)
    assert not schemas.is_due(MODEL)

    assert schemas.claim(MODEL)
    assert not elsewhere.claim(MODEL)
    assert not elsewhere.is_due(MODEL)
    clock.advance(601)
    assert elsewhere.is_due(MODEL)
    assert elsewhere.claim(MODEL)


def test_claim_keeps_the_schema_that_is_known(
    schemas: KnownSchemas, elsewhere: KnownSchemas, clock: FakeClock
) -> None:
    schemas.record(MODEL, IMAGE_RULES)
    clock.advance(50 * 60)
    assert schemas.claim(MODEL)

    assert elsewhere.find(MODEL) is not None


def test_known_schema_is_read_once_a_minute_and_compiled_once(
    schemas: KnownSchemas, elsewhere: KnownSchemas, table: CountingTable, clock: FakeClock
) -> None:
    elsewhere.record(OF_VERSION, IMAGE_RULES)
    first = schemas.find(OF_VERSION)
    for _ in range(5):
        assert schemas.find(OF_VERSION) is first
    assert table.reads == 1
    clock.advance(61)

    assert schemas.find(OF_VERSION) is first
    assert table.reads == 2


def test_model_without_a_schema_is_not_asked_for_again(schemas: KnownSchemas, clock: FakeClock) -> None:
    schemas.record(MODEL, None)
    clock.advance(60)

    assert schemas.find(MODEL) is None
    assert not schemas.is_due(MODEL)


def test_schema_that_does_not_fit_is_not_recorded(schemas: KnownSchemas) -> None:
    source = random.Random(1)
    names = [f"{source.getrandbits(760):x}" for _ in range(300)]
    assert sum(map(len, names)) > MAX_RECORD_CHARACTERS

    schemas.record(MODEL, make_rules({name: {} for name in names}))

    assert schemas.find(MODEL) is None
    assert not schemas.is_due(MODEL)


def test_nothing_is_known_while_the_table_is_unavailable(schemas: KnownSchemas, table: CountingTable) -> None:
    table.unavailable = True

    schemas.record(MODEL, IMAGE_RULES)

    assert schemas.find(MODEL) is None
    assert not schemas.claim(MODEL)


def test_what_was_read_last_counts_while_the_table_is_unavailable(
    schemas: KnownSchemas, elsewhere: KnownSchemas, table: CountingTable, clock: FakeClock
) -> None:
    elsewhere.record(MODEL, IMAGE_RULES)
    assert schemas.find(MODEL) is not None
    table.unavailable = True
    clock.advance(120)

    assert schemas.find(MODEL) is not None


def test_least_recently_used_schemas_are_forgotten(schemas: KnownSchemas, table: CountingTable) -> None:
    for number in range(201):
        schemas.find(f"models/acme/{number}")
    schemas.find("models/acme/0")

    assert table.reads == 202
