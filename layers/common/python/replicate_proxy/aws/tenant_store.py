"""Tenants' settings in the access table: one partition, one item per tenant."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.tenants import ImageDefaults, Tenant
from replicate_proxy.aws.dynamodb import (
    get_record,
    iterate_records,
    put_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.aws.key_store import limits_from_record, record_from_limits
from replicate_proxy.clock import format_optional_timestamp, parse_optional_timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef


_PARTITION = "TENANTS"


class DynamoTenantStore:
    """The TenantStore port on DynamoDB.

    `consistent`: a tenant is read as it was saved last, which costs twice as much. Whoever changes settings
    needs that.
    """

    def __init__(self, client: DynamoDBClient, table: str, *, consistent: bool = False) -> None:
        self._client = client
        self._table = table
        self._consistent = consistent

    def get(self, name: str) -> Tenant | None:
        key = build_item_key(name)
        record = get_record(self._client, self._table, key, "read tenant", consistent=self._consistent)
        return _tenant_from_record(record) if record else None

    def save(self, tenant: Tenant) -> Tenant:
        saved = replace(tenant, revision=tenant.revision + 1)
        put_record(
            self._client,
            self._table,
            _record_from_tenant(saved),
            "save tenant",
            condition="revision = :revision" if tenant.revision else "attribute_not_exists(revision)",
            values={":revision": tenant.revision} if tenant.revision else None,
        )
        return saved

    def delete(self, name: str) -> None:
        with translate_dynamodb_errors("delete tenant"):
            self._client.delete_item(TableName=self._table, Key=to_item(build_item_key(name)))

    def list(self) -> list[Tenant]:
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": to_value(_PARTITION)},
        }
        return list(map(_tenant_from_record, iterate_records(self._client, request, "list tenants")))


def build_item_key(name: str) -> dict[str, str]:
    """Return the key of the item of a tenant."""
    return {"pk": _PARTITION, "sk": f"TENANT#{name}"}


def _record_from_tenant(tenant: Tenant) -> dict[str, Any]:
    return {
        **build_item_key(tenant.name),
        "name": tenant.name,
        "display_name": tenant.display_name,
        "image_format": tenant.images.format,
        "image_quality": tenant.images.quality,
        "private_outputs": tenant.private_outputs or None,
        "token_limits": record_from_limits(tenant.token_limits),
        "retention_seconds": tenant.retention_seconds,
        "usage_key_id": tenant.usage_key_id,
        "usage_key": tenant.usage_key,
        "created_at": format_optional_timestamp(tenant.created_at),
        "updated_at": format_optional_timestamp(tenant.updated_at),
        "erasing_since": format_optional_timestamp(tenant.erasing_since),
        "revision": tenant.revision,
    }


def _tenant_from_record(record: Mapping[str, Any]) -> Tenant:
    return Tenant(
        name=record["name"],
        display_name=record["display_name"],
        images=ImageDefaults(record.get("image_format"), record.get("image_quality")),
        private_outputs=record.get("private_outputs", False),
        token_limits=limits_from_record(record.get("token_limits")),
        retention_seconds=record.get("retention_seconds"),
        usage_key_id=record.get("usage_key_id"),
        usage_key=record.get("usage_key"),
        created_at=parse_optional_timestamp(record.get("created_at")),
        updated_at=parse_optional_timestamp(record.get("updated_at")),
        erasing_since=parse_optional_timestamp(record.get("erasing_since")),
        revision=record.get("revision", 0),
    )
