"""API keys in the access table.

All keys are in one partition, so that reading a key is one GetItem and listing them one Query. `expires_at`
is the table's TTL attribute; the expiry of a key is therefore stored as `valid_until`. Only revoked keys have
a TTL.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.keys import ApiKey, PreviousDigest, UsageLimits
from replicate_proxy.auth.principal import parse_scopes
from replicate_proxy.aws.dynamodb import (
    get_record,
    is_own_write,
    iterate_records,
    put_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.clock import (
    format_optional_timestamp,
    format_timestamp,
    parse_optional_timestamp,
    parse_timestamp,
)
from replicate_proxy.errors import ConflictError, DuplicateError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef, UpdateItemInputTypeDef


_PARTITION = "KEYS"
_REVOKED_KEY_RETENTION = timedelta(days=90)  # for the investigation of incidents


class DynamoKeyStore:
    """The KeyStore port on DynamoDB. Reads are consistent, so that a revocation counts at once."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, key_id: str) -> ApiKey | None:
        record = get_record(self._client, self._table, build_item_key(key_id), "read API key")
        return key_from_record(record) if record else None

    def record_use(self, key_id: str, now: datetime) -> None:
        with translate_dynamodb_errors("record use of API key"):
            self._client.update_item(
                TableName=self._table,
                Key=to_item(build_item_key(key_id)),
                UpdateExpression="SET last_used_at = :now",
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues={":now": to_value(format_timestamp(now))},
            )

    def create(self, key: ApiKey) -> None:
        try:
            put_record(
                self._client,
                self._table,
                record_from_key(key),
                "create API key",
                condition="attribute_not_exists(pk)",
            )
        except ConflictError as error:
            raise DuplicateError("an API key with this ID exists") from error

    def save(self, key: ApiKey) -> ApiKey:
        saved, write_id = replace(key, revision=key.revision + 1), token_hex(8)
        try:
            with translate_dynamodb_errors("change API key"):
                self._client.update_item(**self._build_update(saved, write_id, key.revision))
        except ConflictError as conflict:
            # The SDK repeats a request whose response was lost: the stored key may be this very write.
            if not is_own_write(conflict, write_id):
                raise
        return saved

    def _build_update(self, key: ApiKey, write_id: str, expected_revision: int) -> UpdateItemInputTypeDef:
        """Return the request that writes all attributes but `last_used_at`, which `record_use` writes."""
        record = {**record_from_key(key), "write_id": write_id}
        names = [name for name in record if name not in {"pk", "sk", "last_used_at"}]
        present = [name for name in names if record[name] is not None]
        absent = [name for name in names if record[name] is None]
        expression = "SET " + ", ".join(f"#{name} = :{name}" for name in present)
        if absent:
            expression += " REMOVE " + ", ".join(f"#{name}" for name in absent)
        return {
            "TableName": self._table,
            "Key": to_item(build_item_key(key.id)),
            "UpdateExpression": expression,
            "ConditionExpression": "#revision = :expected_revision",
            "ExpressionAttributeNames": {f"#{name}": name for name in names},
            "ExpressionAttributeValues": {
                ":expected_revision": to_value(expected_revision),
                **{f":{name}": to_value(record[name]) for name in present},
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def list(self, *, tenant: str | None = None) -> list[ApiKey]:
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": to_value(_PARTITION)},
            "ConsistentRead": True,
        }
        if tenant is not None:
            request["FilterExpression"] = "tenant = :tenant"
            request["ExpressionAttributeValues"] = {
                ":pk": to_value(_PARTITION),
                ":tenant": to_value(tenant),
            }
        keys = map(key_from_record, iterate_records(self._client, request, "list API keys"))
        return sorted(keys, key=lambda key: (key.created_at, key.id))


def build_item_key(key_id: str) -> dict[str, str]:
    """Return the key of the item of an API key."""
    return {"pk": _PARTITION, "sk": f"KEY#{key_id}"}


def record_from_key(key: ApiKey) -> dict[str, Any]:
    ttl = int((key.revoked_at + _REVOKED_KEY_RETENTION).timestamp()) if key.revoked_at else None
    return {
        **build_item_key(key.id),
        "id": key.id,
        "tenant": key.tenant,
        "digest": key.digest,
        "created_at": format_timestamp(key.created_at),
        "name": key.name,
        "scopes": sorted(key.scopes),
        "allowed_ips": list(key.allowed_ips),
        "allowed_models": list(key.allowed_models),
        "valid_until": format_optional_timestamp(key.expires_at),
        "previous_digests": [
            {"digest": entry.digest, "expires_at": format_timestamp(entry.expires_at)}
            for entry in key.previous_digests
        ],
        "last_used_at": format_optional_timestamp(key.last_used_at),
        "revoked_at": format_optional_timestamp(key.revoked_at),
        "limits": record_from_limits(key.limits),
        "usage_key_id": key.usage_key_id,
        "usage_key": key.usage_key,
        "has_budget": key.has_budget or None,
        "revision": key.revision,
        "expires_at": ttl,
    }


def key_from_record(record: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        id=record["id"],
        tenant=record["tenant"],
        digest=record["digest"],
        created_at=parse_timestamp(record["created_at"]),
        name=record["name"],
        scopes=parse_scopes(record["scopes"]),
        allowed_ips=tuple(record["allowed_ips"]),
        allowed_models=tuple(record["allowed_models"]),
        expires_at=parse_optional_timestamp(record.get("valid_until")),
        previous_digests=tuple(
            PreviousDigest(entry["digest"], parse_timestamp(entry["expires_at"]))
            for entry in record["previous_digests"]
        ),
        last_used_at=parse_optional_timestamp(record.get("last_used_at")),
        revoked_at=parse_optional_timestamp(record.get("revoked_at")),
        limits=limits_from_record(record.get("limits")),
        usage_key_id=record.get("usage_key_id"),
        usage_key=record.get("usage_key"),
        has_budget=record.get("has_budget", False),
        revision=record["revision"],
    )


def record_from_limits(limits: UsageLimits | None) -> dict[str, Any] | None:
    """Return the limits for storage; the rate is stored as text, since DynamoDB has no binary floats."""
    if limits is None:
        return None
    return {"rate": str(limits.rate), "burst": limits.burst, "monthly_quota": limits.monthly_quota}


def limits_from_record(record: Mapping[str, Any] | None) -> UsageLimits | None:
    return UsageLimits(float(record["rate"]), record["burst"], record["monthly_quota"]) if record else None
