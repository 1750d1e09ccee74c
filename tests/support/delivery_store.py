"""The store of deliveries over the simulation's AWS, with what only tests ask of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws import delivery_records
from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.dynamodb import from_item, to_item
from replicate_proxy.webhooks.model import Delivery
from tests.support.aws import DELIVERIES_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.webhooks.model import Attempt, StoredEvent
    from replicate_proxy.webhooks.ports import DueDelivery, DueEndpoint


class InMemoryDeliveryStore(DynamoDeliveryStore):
    """The DeliveryStore with lists of all that it holds. All due deliveries are in shard 0."""

    def __init__(self, client: DynamoDBClient) -> None:
        super().__init__(client, DELIVERIES_TABLE, due_shards=1)

    def list_due(self, shard: int, *, before: datetime, limit: int) -> Sequence[DueDelivery | DueEndpoint]:
        # Tests that let days pass have a hundred thousand sweeps.
        return [] if shard else super().list_due(shard, before=before, limit=limit)

    def list_all(self) -> list[Delivery]:
        return [delivery_records.delivery_from_record(record) for record in self._scan("DELIVERY#")]

    def list_all_events(self) -> list[StoredEvent]:
        return [delivery_records.event_from_record(record) for record in self._scan("EVENT#")]

    def list_all_attempts(self) -> list[Attempt]:
        return [delivery_records.attempt_from_record(record) for record in self._scan("ATTEMPT#")]

    def has_due(self) -> bool:
        """Return whether anything is due at any time."""
        return bool(self.list_due(0, before=datetime.max.replace(tzinfo=UTC), limit=1))

    def remove(self, stored: Delivery | StoredEvent) -> None:
        key = stored.tenant, stored.job_id, stored.sequence
        self._client.delete_item(
            TableName=DELIVERIES_TABLE,
            Key=to_item(
                delivery_records.delivery_key(*key, stored.target)
                if isinstance(stored, Delivery)
                else delivery_records.event_key(*key)
            ),
        )

    def _scan(self, prefix: str) -> list[dict[str, Any]]:
        pages = self._client.get_paginator("scan").paginate(TableName=DELIVERIES_TABLE, ConsistentRead=True)
        records = [from_item(item) for page in pages for item in page["Items"]]
        return [record for record in records if record["sk"].startswith(prefix)]
