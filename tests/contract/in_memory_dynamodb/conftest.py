"""The simulation's DynamoDB and moto's, with the same items.

The responses and errors are those of moto; where moto is wrong, those of AWS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from moto import mock_aws

from tests.support.aws import JOBS_TABLE, create_in_memory_aws, create_jobs_table
from tests.support.aws_pair import ClientPair
from tests.support.dynamodb_requests import ITEM, QUERIED_COUNT, number_of, text

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def clients() -> Iterator[ClientPair]:
    with mock_aws():
        pair = ClientPair(create_in_memory_aws().client("dynamodb"), create_jobs_table())
        for client in (pair.simulated, pair.moto):
            for number in range(QUERIED_COUNT):
                item = {"pk": text("q"), "sk": text(f"s{number}"), "n": number_of(number)}
                client.put_item(
                    TableName=JOBS_TABLE, Item={**item, "tenant": text("T"), "id": text(str(number))}
                )
            for number in range(6):
                item = {"pk": text("large"), "sk": text(f"s{number}"), "t": text("y" * 300_000)}
                client.put_item(TableName=JOBS_TABLE, Item=item)
        yield pair


@pytest.fixture
def dynamodb(clients: ClientPair) -> ClientPair:
    """Both clients, with ITEM as it was at the beginning."""
    for client in (clients.simulated, clients.moto):
        client.put_item(TableName=JOBS_TABLE, Item=ITEM)
    return clients
