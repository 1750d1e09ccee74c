"""Endpoints and tenants' default signing secrets in DynamoDB."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.delivery_records import ENDPOINT_PREFIX, due_shard_key, tenant_pk
from replicate_proxy.aws.dynamodb import (
    from_item,
    get_record,
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
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.webhooks.endpoints import DisabledReason, Endpoint, MissedSearch
from replicate_proxy.webhooks.model import EventKind
from replicate_proxy.webhooks.ports import DeliveryPosition
from replicate_proxy.webhooks.signing_secrets import (
    generate_signing_secret,
    secrets_from_records,
    secrets_to_records,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.webhooks.signing_secrets import SigningSecret


class DynamoEndpointStore:
    """The EndpointStore port on the deliveries table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def create(self, endpoint: Endpoint) -> None:
        put_record(
            self._client,
            self._table,
            _record_from_endpoint(endpoint),
            "create endpoint",
            condition="attribute_not_exists(pk)",
        )

    def get(self, tenant: str, endpoint_id: str) -> Endpoint | None:
        key = _endpoint_key(tenant, endpoint_id)
        record = get_record(self._client, self._table, key, "read endpoint")
        return _endpoint_from_record(record) if record else None

    def list_all(self, tenant: str) -> Sequence[Endpoint]:
        # EndpointService limits their number, so one page holds them all.
        with translate_dynamodb_errors("list endpoints"):
            response = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
                ExpressionAttributeValues={
                    ":pk": to_value(tenant_pk(tenant)),
                    ":prefix": to_value(ENDPOINT_PREFIX),
                },
                ConsistentRead=True,
            )
        return [_endpoint_from_record(from_item(item)) for item in response["Items"]]

    def save(self, endpoint: Endpoint) -> Endpoint:
        saved = replace(endpoint, revision=endpoint.revision + 1)
        put_record(
            self._client,
            self._table,
            _record_from_endpoint(saved),
            "save endpoint",
            condition="revision = :revision",
            values={":revision": endpoint.revision},
        )
        return saved

    def delete(self, tenant: str, endpoint_id: str) -> bool:
        with translate_dynamodb_errors("delete endpoint"):
            response = self._client.delete_item(
                TableName=self._table,
                Key=to_item(_endpoint_key(tenant, endpoint_id)),
                ReturnValues="ALL_OLD",
            )
        return bool(response.get("Attributes"))


class DynamoSigningSecretStore:
    """The SigningSecretStore port on the deliveries table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def get_or_create(self, tenant: str, *, now: datetime) -> tuple[SigningSecret, ...]:
        secrets = self._get(tenant)
        if secrets:
            return secrets
        # Of two concurrent requests one creates the secret, and the other reads it.
        with suppress(ConflictError):
            self._put(tenant, [generate_signing_secret(now)], "attribute_not_exists(pk)", {})
        secrets = self._get(tenant)
        if not secrets:
            raise RetryableError("the tenant's signing secret is missing after it was created")
        return secrets

    def replace(self, tenant: str, *, old: Sequence[SigningSecret], new: Sequence[SigningSecret]) -> None:
        self._put(tenant, new, "secrets = :old", {":old": secrets_to_records(old)})

    def _get(self, tenant: str) -> tuple[SigningSecret, ...]:
        record = get_record(self._client, self._table, _secret_key(tenant), "read signing secret")
        return secrets_from_records(record["secrets"]) if record else ()

    def _put(
        self, tenant: str, secrets: Sequence[SigningSecret], condition: str, values: Mapping[str, Any]
    ) -> None:
        record = {**_secret_key(tenant), "secrets": secrets_to_records(secrets)}
        put_record(
            self._client, self._table, record, "write signing secret", condition=condition, values=values
        )


def _endpoint_key(tenant: str, endpoint_id: str) -> dict[str, str]:
    return {"pk": tenant_pk(tenant), "sk": f"{ENDPOINT_PREFIX}{endpoint_id}"}


def _secret_key(tenant: str) -> dict[str, str]:
    return {"pk": tenant_pk(tenant), "sk": "SECRET"}


def _record_from_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """Return the record. It is in the due index while the sweep has to search for what was missed."""
    search = endpoint.missed_search
    return {
        **_endpoint_key(endpoint.tenant, endpoint.id),
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
        "revision": endpoint.revision,
        "unsearched_since": format_optional_timestamp(endpoint.unsearched_since),
        "search_disabled_at": format_timestamp(search.disabled_at) if search else None,
        "search_after": list(search.after) if search and search.after else None,
        "due_at": format_timestamp(search.due_at) if search else None,
        # Endpoints are seldom enabled: one shard is enough for them.
        "due_shard": due_shard_key(0) if search else None,
    }


def _endpoint_from_record(record: Mapping[str, Any]) -> Endpoint:
    disabled_reason = record.get("disabled_reason")
    return Endpoint(
        tenant=record["tenant"],
        id=record["id"],
        url=record["url"],
        secrets=secrets_from_records(record["secrets"]),
        events=tuple(EventKind(kind) for kind in record["events"]),
        description=record["description"],
        disabled_reason=DisabledReason(disabled_reason) if disabled_reason else None,
        disabled_at=parse_optional_timestamp(record.get("disabled_at")),
        created_at=parse_timestamp(record["created_at"]),
        updated_at=parse_timestamp(record["updated_at"]),
        revision=record["revision"],
        unsearched_since=parse_optional_timestamp(record.get("unsearched_since")),
        missed_search=_search_from_record(record),
    )


def _search_from_record(record: Mapping[str, Any]) -> MissedSearch | None:
    if "due_at" not in record:
        return None
    after = record.get("search_after")
    return MissedSearch(
        disabled_at=parse_timestamp(record["search_disabled_at"]),
        due_at=parse_timestamp(record["due_at"]),
        after=DeliveryPosition(*after) if after else None,
    )
