"""Builders and fakes of the access part: keys, tenants, files."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import boto3

from replicate_proxy.auth.keys import ApiKey, ApiKeySecret, UsageLimits
from replicate_proxy.auth.principal import DEFAULT_SCOPES
from replicate_proxy.errors import ConflictError, DuplicateError, RetryableError
from replicate_proxy.operations.ports import Stage, UsageKey
from tests.support.clock import NOW

if TYPE_CHECKING:
    import pytest

    from replicate_proxy.auth.tenants import Tenant

DIGEST_KEY = b"k" * 32
STAGE = Stage("api123", "prod")
TABLE = "access"


def make_key(**changes: Any) -> tuple[ApiKey, ApiKeySecret]:
    """A good key of tenant acme and its text; `changes` are fields of the record."""
    text = ApiKeySecret.generate(changes.pop("id", None))
    key = ApiKey(
        id=text.key_id,
        tenant="acme",
        digest=text.digest(DIGEST_KEY),
        created_at=NOW,
        scopes=frozenset(DEFAULT_SCOPES),
    )
    return replace(key, **changes), text


@dataclass
class FakeKeyStore:
    """Keys in memory; `down` makes it fail as a store does that cannot be reached."""

    keys: dict[str, ApiKey] = field(default_factory=dict)
    down: bool = False

    def get(self, key_id: str) -> ApiKey | None:
        self._reach()
        return self.keys.get(key_id)

    def record_use(self, key_id: str, now: datetime) -> None:
        self._reach()
        if key_id not in self.keys:
            raise ConflictError("no such key")
        self.keys[key_id] = replace(self.keys[key_id], last_used_at=now)

    def create(self, key: ApiKey) -> None:
        self._reach()
        if key.id in self.keys:
            raise DuplicateError("exists")
        self.keys[key.id] = key

    def replace(self, key: ApiKey, *, expected_digest: str) -> None:
        self._reach()
        stored = self.keys.get(key.id)
        if stored is None or stored.digest != expected_digest or stored.revoked_at is not None:
            raise ConflictError("changed meanwhile")
        self.keys[key.id] = key

    def list(self, *, tenant: str | None = None) -> list[ApiKey]:
        self._reach()
        found = [key for key in self.keys.values() if tenant in {None, key.tenant}]
        return sorted(found, key=lambda key: (key.created_at, key.id))

    def _reach(self) -> None:
        if self.down:
            raise RetryableError("the store cannot be reached")


@dataclass
class FakeTenantStore:
    """Tenants in memory."""

    tenants: dict[str, Tenant] = field(default_factory=dict)
    down: bool = False

    def get(self, name: str) -> Tenant | None:
        if self.down:
            raise RetryableError("the store cannot be reached")
        return self.tenants.get(name)

    def save(self, tenant: Tenant) -> None:
        self.tenants[tenant.name] = tenant

    def delete(self, name: str) -> None:
        self.tenants.pop(name, None)

    def list(self) -> list[Tenant]:
        return sorted(self.tenants.values(), key=lambda tenant: tenant.name)


@dataclass
class FakeGateway:
    """API Gateway as far as keys go: who sits in which plan, and whether the cache was dropped."""

    limits_by_label: dict[str, UsageLimits] = field(default_factory=dict)
    stages: set[Stage] = field(default_factory=set)
    flushed_stages: list[Stage] = field(default_factory=list)
    can_flush: bool = True

    def create_key(self, label: str, limits: UsageLimits, stage: Stage) -> UsageKey:
        self.limits_by_label[label] = limits
        self.stages.add(stage)
        return UsageKey(id=label, value=f"value-of-{label}")

    def delete_key(self, usage_key_id: str) -> None:
        self.limits_by_label.pop(usage_key_id, None)

    def flush_authorizer_cache(self, stage: Stage) -> bool:
        self.flushed_stages.append(stage)
        return self.can_flush


def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up credentials and no way to a real account."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


def access_table() -> Any:
    """The access table inside moto, as the template declares it; gives the client."""
    client = boto3.client("dynamodb")
    client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


def deploy_api(client: Any) -> str:
    """A REST API with one method and a stage named prod."""
    api = client.create_rest_api(name="api")["id"]
    root = client.get_resources(restApiId=api)["items"][0]["id"]
    where = {"restApiId": api, "resourceId": root, "httpMethod": "GET"}
    client.put_method(**where, authorizationType="NONE")
    client.put_integration(**where, type="HTTP", uri="https://example.com", integrationHttpMethod="GET")
    client.create_deployment(restApiId=api, stageName="prod")
    return str(api)
