"""Bodies of the admin API."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from replicate_proxy.api.validation import RequestBody, UtcTime
from replicate_proxy.auth.ip_ranges import normalize_ip_range
from replicate_proxy.auth.keys import MAX_ROTATION_OVERLAP, UsageLimits
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.auth.tenants import is_tenant_name
from replicate_proxy.images.options import ImageFormat
from replicate_proxy.operations.dead_letters import DeadLetterFilter

_DAY_SECONDS = 24 * 3600
_MAX_OVERLAP_SECONDS = int(MAX_ROTATION_OVERLAP / timedelta(seconds=1))
TENANT_NAME_RULE = "must be 1 to 63 lower-case letters, digits and inner hyphens"


def _require_tenant_name(name: str) -> str:
    if not is_tenant_name(name):
        raise ValueError(TENANT_NAME_RULE)
    return name


def _normalize_ip_range(text: str) -> str:
    try:
        return normalize_ip_range(text)
    except ValueError:
        raise ValueError("must be an IP address or a CIDR range such as 203.0.113.0/24") from None


_TenantName = Annotated[str, AfterValidator(_require_tenant_name)]
_Label = Annotated[str, StringConstraints(max_length=100)]
_IpRanges = Annotated[tuple[Annotated[str, AfterValidator(_normalize_ip_range)], ...], Field(max_length=50)]
_MODEL_PATTERN = r"^(?:[0-9a-f]{64}|(?:deployments/)?[A-Za-z0-9._-]+/(?:[A-Za-z0-9._-]+|\*))$"
_Model = Annotated[
    str,
    StringConstraints(max_length=100, pattern=_MODEL_PATTERN),
]
# The authorizer returns the list in its response, whose size API Gateway limits.
_Models = Annotated[tuple[_Model, ...], Field(max_length=50)]


class LimitsBody(RequestBody):
    """Request limits, enforced by API Gateway: per second, burst, and per month (null: no quota)."""

    rate: Annotated[float, Field(gt=0, le=10_000)]
    burst: Annotated[int, Field(ge=1, le=5_000)]
    monthly_quota: Annotated[int, Field(ge=1, le=2_000_000_000)] | None = None

    def to_limits(self) -> UsageLimits:
        return UsageLimits(self.rate, self.burst, self.monthly_quota)


class CreateKeyBody(RequestBody):
    """POST /admin/keys."""

    tenant: _TenantName
    name: _Label = ""
    scopes: frozenset[Scope] = DEFAULT_SCOPES
    expires_at: UtcTime | None = None
    allowed_ips: _IpRanges = ()
    allowed_models: _Models = ()
    limits: LimitsBody | None = None


class UpdateKeyBody(RequestBody):
    """PATCH /admin/keys/{id}. Missing fields stay as they are; null clears `expires_at` and `limits`."""

    name: _Label = ""
    scopes: frozenset[Scope] = frozenset()
    expires_at: UtcTime | None = None
    allowed_ips: _IpRanges = ()
    allowed_models: _Models = ()
    limits: LimitsBody | None = None


class RotateKeyBody(RequestBody):
    """POST /admin/keys/{id}/rotate: how long the old secret stays valid beside the new one."""

    overlap_seconds: Annotated[int, Field(ge=0, le=_MAX_OVERLAP_SECONDS)] = _DAY_SECONDS


class ImagesBody(RequestBody):
    """How a tenant's images are stored unless a request says otherwise."""

    format: ImageFormat | None = None
    quality: Annotated[int, Field(ge=1, le=100)] | None = None


class PutTenantBody(RequestBody):
    """PUT /admin/tenants/{name}. Replaces all settings."""

    display_name: _Label = ""
    images: ImagesBody = ImagesBody()
    token_limits: LimitsBody | None = None


class _DeadLetterFilterBody(RequestBody):
    tenant: _TenantName | None = None
    job_id: Annotated[str, StringConstraints(max_length=64)] | None = None
    message_ids: Annotated[frozenset[str], Field(max_length=1000)] = frozenset()
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000

    def to_filter(self) -> DeadLetterFilter:
        return DeadLetterFilter(self.tenant, self.job_id, self.message_ids)


class RedriveBody(_DeadLetterFilterBody):
    """POST /admin/queues/{name}/redrive: which messages (all without a filter), and how many a second."""

    rate_per_second: Annotated[float, Field(gt=0, le=300)] = 20


class DiscardBody(_DeadLetterFilterBody):
    """POST /admin/queues/{name}/discard. A filter is required, because the messages are lost."""

    @model_validator(mode="after")
    def _require_filter(self) -> Self:
        if not (self.tenant or self.job_id or self.message_ids):
            raise ValueError("must name a tenant, a job_id or message_ids")
        return self


class TripBreakerBody(RequestBody):
    """POST /admin/breaker/trip: for how long; null is as long as the breaker opens by itself."""

    seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
