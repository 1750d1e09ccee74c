"""Endpoints and tenants' default signing secrets in DynamoDB."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.delivery_records import tenant_pk
from replicate_proxy.aws.dynamodb import from_item, to_item, to_value, translate_dynamodb_errors
from replicate_proxy.clock import (
    format_optional_timestamp,
    format_timestamp,
    parse_optional_timestamp,
    parse_timestamp,
)
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.webhooks.endpoints import (
    DisabledReason,
    Endpoint,
    generate_signing_secret,
    secrets_from_records,
    secrets_to_records,
)
from replicate_proxy.webhooks.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.webhooks.endpoints import SigningSecret


class DynamoEndpointStore:
    """The EndpointStore port on the deliveries table."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def create(self, endpoint: Endpoint) -> None:
        with translate_dynamodb_errors("create endpoint"):
            self._dynamodb.put_item(
                TableName=self._table,
                Item=to_item(_record(endpoint)),
                ConditionExpression="attribute_not_exists(pk)",
            )

    def get(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        with translate_dynamodb_errors("read endpoint"):
            reply = self._dynamodb.get_item(
                TableName=self._table, Key=_key(tenant, endpoint_id), ConsistentRead=True
            )
        return _endpoint(from_item(reply["Item"])) if "Item" in reply else None

    def all(self, tenant: str) -> Sequence[Endpoint]:
        # Their number is limited (`EndpointAdmin`), so one page holds them all.
        with translate_dynamodb_errors("list endpoints"):
            reply = self._dynamodb.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
                ExpressionAttributeValues={
                    ":pk": to_value(tenant_pk(tenant)),
                    ":prefix": to_value("ENDPOINT#"),
                },
                ConsistentRead=True,
            )
        return [_endpoint(from_item(item)) for item in reply["Items"]]

    def save(self, endpoint: Endpoint) -> Endpoint:
        saved = replace(endpoint, rev=endpoint.rev + 1)
        with translate_dynamodb_errors("save endpoint"):
            self._dynamodb.put_item(
                TableName=self._table,
                Item=to_item(_record(saved)),
                ConditionExpression="#rev = :rev",
                ExpressionAttributeNames={"#rev": "rev"},
                ExpressionAttributeValues={":rev": to_value(endpoint.rev)},
            )
        return saved

    def delete(self, tenant: str, endpoint_id: str) -> bool:
        with translate_dynamodb_errors("delete endpoint"):
            reply = self._dynamodb.delete_item(
                TableName=self._table, Key=_key(tenant, endpoint_id), ReturnValues="ALL_OLD"
            )
        return bool(reply.get("Attributes"))


class DynamoTenantSecrets:
    """The TenantSecrets port on the deliveries table."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def of(self, tenant: str, *, now: datetime) -> tuple[SigningSecret, ...]:
        stored = self._read(tenant)
        if stored:
            return stored
        # Whoever comes second reads what the first one made.
        with suppress(ConflictError):
            self._put(tenant, [generate_signing_secret(now)], "attribute_not_exists(pk)", {})
        stored = self._read(tenant)
        if not stored:
            raise RetryableError("the tenant's signing secret was not there after it was made")
        return stored

    def replace(self, tenant: str, *, old: Sequence[SigningSecret], new: Sequence[SigningSecret]) -> None:
        seen = {":old": to_value(secrets_to_records(old))}
        self._put(tenant, new, "secrets = :old", seen)

    def _read(self, tenant: str) -> tuple[SigningSecret, ...]:
        with translate_dynamodb_errors("read signing secret"):
            reply = self._dynamodb.get_item(
                TableName=self._table, Key=_secret_key(tenant), ConsistentRead=True
            )
        return secrets_from_records(from_item(reply["Item"])["secrets"]) if "Item" in reply else ()

    def _put(
        self, tenant: str, secrets: Sequence[SigningSecret], condition: str, values: Mapping[str, Any]
    ) -> None:
        item = {**_secret_key(tenant), **to_item({"secrets": secrets_to_records(secrets)})}
        options = {"ExpressionAttributeValues": dict(values)} if values else {}
        with translate_dynamodb_errors("write signing secret"):
            self._dynamodb.put_item(
                TableName=self._table, Item=item, ConditionExpression=condition, **options
            )


def _key(tenant: str, endpoint_id: str) -> dict[str, Any]:
    return to_item({"pk": tenant_pk(tenant), "sk": f"ENDPOINT#{endpoint_id}"})


def _secret_key(tenant: str) -> dict[str, Any]:
    return to_item({"pk": tenant_pk(tenant), "sk": "SECRET"})


def _record(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "pk": tenant_pk(endpoint.tenant),
        "sk": f"ENDPOINT#{endpoint.id}",
        "tenant": endpoint.tenant,
        "id": endpoint.id,
        "url": endpoint.url,
        "secrets": secrets_to_records(endpoint.secrets),
        "events": [kind.value for kind in endpoint.events],
        "description": endpoint.description,
        "disabled_reason": endpoint.disabled_reason.value if endpoint.disabled_reason else None,
        "disabled_at": format_optional_timestamp(endpoint.disabled_at),
        "created_at": format_timestamp(endpoint.created_at),
        "updated_at": format_timestamp(endpoint.updated_at),
        "rev": endpoint.rev,
    }


def _endpoint(record: Mapping[str, Any]) -> Endpoint:
    reason = record.get("disabled_reason")
    return Endpoint(
        tenant=record["tenant"],
        id=record["id"],
        url=record["url"],
        secrets=secrets_from_records(record["secrets"]),
        events=tuple(EventKind(word) for word in record["events"]),
        description=record["description"],
        disabled_reason=DisabledReason(reason) if reason else None,
        disabled_at=parse_optional_timestamp(record.get("disabled_at")),
        created_at=parse_timestamp(record["created_at"]),
        updated_at=parse_timestamp(record["updated_at"]),
        rev=record["rev"],
    )
