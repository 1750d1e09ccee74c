"""Remove the rows of a job from the tables of deliveries and of usage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.delivery_records import job_pk
from replicate_proxy.aws.dynamodb import batch_delete, to_item, to_value, translate_dynamodb_errors
from replicate_proxy.aws.usage_store import mark_key

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef


class DynamoDeliveryRemover:
    """The RowRemover port on the deliveries table: events, deliveries and attempts."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def remove_job(self, tenant: str, job_id: str) -> int:
        removed = 0
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": to_value(job_pk(tenant, job_id))},
            "ProjectionExpression": "pk, sk",
            "ConsistentRead": True,
        }
        while True:
            with translate_dynamodb_errors("list rows of a job"):
                response = self._client.query(**request)
            keys = [{"pk": item["pk"], "sk": item["sk"]} for item in response["Items"]]
            batch_delete(self._client, self._table, keys, "delete deliveries of a job")
            removed += len(keys)
            if "LastEvaluatedKey" not in response:
                return removed
            request["ExclusiveStartKey"] = response["LastEvaluatedKey"]


class DynamoUsageMarkRemover:
    """The RowRemover port on the table of usage: the mark that a job is counted. Its sums stay."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def remove_job(self, tenant: str, job_id: str) -> int:
        with translate_dynamodb_errors("delete mark of a job"):
            self._client.delete_item(TableName=self._table, Key=to_item(mark_key(tenant, job_id)))
        return 1
