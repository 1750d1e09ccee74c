"""Builders and fakes for keys, tenants and API Gateway."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.keys import ApiKey, ApiKeySecret, UsageLimits
from replicate_proxy.auth.principal import DEFAULT_SCOPES
from replicate_proxy.errors import ConflictError, DuplicateError, RetryableError
from replicate_proxy.operations.ports import Stage, UsagePlanKey
from tests.support.clock import NOW

if TYPE_CHECKING:
    from types_boto3_apigateway import APIGatewayClient

    from replicate_proxy.auth.tenants import Tenant

DIGEST_KEY = b"k" * 32
STAGE = Stage("api123", "prod")


def make_key(**changes: Any) -> tuple[ApiKey, ApiKeySecret]:
    """Return a valid key of the tenant acme, and its secret; `changes` are fields of the record."""
    secret = ApiKeySecret.generate(changes.pop("id", None))
    key = ApiKey(
        id=secret.key_id,
        tenant="acme",
        digest=secret.compute_digest(DIGEST_KEY),
        created_at=NOW,
        scopes=frozenset(DEFAULT_SCOPES),
    )
    return replace(key, **changes), secret


@dataclass
class FakeKeyStore:
    """A KeyStore in memory; every call fails while it is unavailable."""

    keys: dict[str, ApiKey] = field(default_factory=dict)
    is_unavailable: bool = False

    def get(self, key_id: str) -> ApiKey | None:
        self._check_availability()
        return self.keys.get(key_id)

    def record_use(self, key_id: str, now: datetime) -> None:
        self._check_availability()
        if key_id not in self.keys:
            raise ConflictError("no such key")
        self.keys[key_id] = replace(self.keys[key_id], last_used_at=now)

    def create(self, key: ApiKey) -> None:
        self._check_availability()
        if key.id in self.keys:
            raise DuplicateError("exists")
        self.keys[key.id] = key

    def save(self, key: ApiKey) -> ApiKey:
        self._check_availability()
        stored = self.keys.get(key.id)
        if stored is None or stored.revision != key.revision:
            raise ConflictError("changed by another writer")
        saved = replace(key, revision=key.revision + 1, last_used_at=stored.last_used_at)
        self.keys[key.id] = saved
        return saved

    def list(self, *, tenant: str | None = None) -> list[ApiKey]:
        self._check_availability()
        keys = [key for key in self.keys.values() if tenant in {None, key.tenant}]
        return sorted(keys, key=lambda key: (key.created_at, key.id))

    def _check_availability(self) -> None:
        if self.is_unavailable:
            raise RetryableError("the store cannot be reached")


@dataclass
class FakeTenantStore:
    """A TenantStore in memory; reads fail while it is unavailable."""

    tenants: dict[str, Tenant] = field(default_factory=dict)
    is_unavailable: bool = False

    def get(self, name: str) -> Tenant | None:
        if self.is_unavailable:
            raise RetryableError("the store cannot be reached")
        return self.tenants.get(name)

    def save(self, tenant: Tenant) -> Tenant:
        stored = self.tenants.get(tenant.name)
        if tenant.revision != (stored.revision if stored else 0):
            raise ConflictError("changed by another writer")
        self.tenants[tenant.name] = saved = replace(tenant, revision=tenant.revision + 1)
        return saved

    def delete(self, name: str) -> None:
        self.tenants.pop(name, None)

    def list(self) -> list[Tenant]:
        return sorted(self.tenants.values(), key=lambda tenant: tenant.name)


@dataclass
class FakeGateway:
    """A Gateway that records the limits of its keys and the stages whose authorizer cache was flushed."""

    limits_by_label: dict[str, UsageLimits] = field(default_factory=dict)
    stages: set[Stage] = field(default_factory=set)
    flushed_stages: list[Stage] = field(default_factory=list)
    can_flush: bool = True

    def create_key(self, label: str, limits: UsageLimits, stage: Stage) -> UsagePlanKey:
        self.limits_by_label[label] = limits
        self.stages.add(stage)
        return UsagePlanKey(id=label, value=f"value-of-{label}")

    def delete_key(self, usage_key_id: str) -> None:
        self.limits_by_label.pop(usage_key_id, None)

    def flush_authorizer_cache(self, stage: Stage) -> bool:
        self.flushed_stages.append(stage)
        return self.can_flush


def deploy_api(client: APIGatewayClient) -> str:
    """Create a REST API with one method and a stage named prod, and return its ID."""
    api_id = client.create_rest_api(name="api")["id"]
    root_id = client.get_resources(restApiId=api_id)["items"][0]["id"]
    method: dict[str, Any] = {"restApiId": api_id, "resourceId": root_id, "httpMethod": "GET"}
    client.put_method(**method, authorizationType="NONE")
    client.put_integration(**method, type="HTTP", uri="https://example.com", integrationHttpMethod="GET")
    client.create_deployment(restApiId=api_id, stageName="prod")
    return api_id
