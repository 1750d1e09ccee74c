"""Bodies of the admin API, checked field by field. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, model_validator

from replicate_proxy.api.validation import RequestBody, field_error
from replicate_proxy.auth.ip_ranges import normalize_ip_range
from replicate_proxy.auth.keys import MAX_ROTATION_OVERLAP, UsageLimits
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.auth.tenants import is_tenant_name
from replicate_proxy.images.options import ImageFormat
from replicate_proxy.operations.dead_letters import DeadLetterFilter

_MAX_OVERLAP_SECONDS = int(MAX_ROTATION_OVERLAP / timedelta(seconds=1))


def _tenant(name: str) -> str:
    if not is_tenant_name(name):
        raise ValueError("must be 1 to 63 lower-case letters, digits and inner hyphens")
    return name


def _range(text: str) -> str:
    try:
        return normalize_ip_range(text)
    except ValueError:
        raise ValueError("must be an IP address or a CIDR range such as 203.0.113.0/24") from None


TenantName = Annotated[str, AfterValidator(_tenant)]
_Label = Annotated[str, StringConstraints(max_length=100)]
_Ranges = Annotated[tuple[Annotated[str, AfterValidator(_range)], ...], Field(max_length=50)]
# The list travels in the authorizer's answer, whose size API Gateway bounds.
_Model = Annotated[
    str,
    StringConstraints(max_length=100, pattern=r"^(?:[0-9a-f]{64}|[A-Za-z0-9._-]+/(?:[A-Za-z0-9._-]+|\*))$"),
]
_Format = Annotated[ImageFormat | None, Field()]
_Models = Annotated[tuple[_Model, ...], Field(max_length=50)]


class LimitsBody(RequestBody):
    """Requests a second, burst, and requests a month (absent: no quota), counted by API Gateway."""

    rate: Annotated[float, Field(gt=0, le=10_000)]
    burst: Annotated[int, Field(ge=1, le=5_000)]
    monthly_quota: Annotated[int, Field(ge=1, le=2_000_000_000)] | None = None

    def to_limits(self) -> UsageLimits:
        return UsageLimits(self.rate, self.burst, self.monthly_quota)


class CreateKeyBody(RequestBody):
    """POST /admin/keys."""

    tenant: TenantName
    name: _Label = ""
    scopes: frozenset[Scope] = DEFAULT_SCOPES
    expires_at: AwareDatetime | None = None
    allowed_ips: _Ranges = ()
    allowed_models: _Models = ()
    limits: LimitsBody | None = None


class UpdateKeyBody(RequestBody):
    """PATCH /admin/keys/{id}: absent fields stay as they are; null clears `expires_at` and `limits`."""

    name: _Label = ""
    scopes: frozenset[Scope] = frozenset()
    expires_at: AwareDatetime | None = None
    allowed_ips: _Ranges = ()
    allowed_models: _Models = ()
    limits: LimitsBody | None = None


class RotateKeyBody(RequestBody):
    """POST /admin/keys/{id}/rotate: how long the old secret stays good beside the new one."""

    overlap_seconds: Annotated[int, Field(ge=0, le=_MAX_OVERLAP_SECONDS)] = 24 * 3600


class ImagesBody(RequestBody):
    """What is done to a tenant's images unless a request says otherwise."""

    format: _Format = None
    quality: Annotated[int, Field(ge=1, le=100)] | None = None


class PutTenantBody(RequestBody):
    """PUT /admin/tenants/{name}: the settings as a whole."""

    display_name: _Label = ""
    images: ImagesBody = ImagesBody()
    token_limits: LimitsBody | None = None


class _Letters(RequestBody):
    tenant: TenantName | None = None
    job_id: Annotated[str, StringConstraints(max_length=64)] | None = None
    message_ids: Annotated[frozenset[str], Field(max_length=1000)] = frozenset()
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000

    def to_filter(self) -> DeadLetterFilter:
        return DeadLetterFilter(self.tenant, self.job_id, self.message_ids)


class RedriveBody(_Letters):
    """POST /admin/queues/{name}/redrive: which messages (none named: all) and how many a second."""

    rate_per_second: Annotated[float, Field(gt=0, le=300)] = 20


class DiscardBody(_Letters):
    """POST /admin/queues/{name}/discard. What is thrown away has to be named."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not (self.tenant or self.job_id or self.message_ids):
            raise ValueError("name a tenant, a job_id or message_ids")
        return self


class TripBreakerBody(RequestBody):
    """POST /admin/breaker/trip: for how long, by default as long as the breaker stays open by itself."""

    seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None


def require_future_expiry(moment: datetime | None, now: datetime) -> datetime | None:
    """A 422 ApiError where an end of validity lies in the past."""
    if moment is not None and moment <= now:
        raise field_error("expires_at", "must lie in the future", error_type="in_the_past")
    return moment
