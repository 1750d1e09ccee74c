"""Bodies of the admin API."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from replicate_proxy.api.predictions.bodies import ModelInput
from replicate_proxy.api.validation import RequestBody, UtcTime, describe_pattern
from replicate_proxy.auth.ip_ranges import normalize_ip_range
from replicate_proxy.auth.keys import MAX_ROTATION_OVERLAP, UsageLimits
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.auth.tenants import TENANT_NAME_RULE, is_tenant_name
from replicate_proxy.budgets.model import BudgetLimits
from replicate_proxy.concurrency.model import MAX_CONCURRENCY
from replicate_proxy.costs.money import parse_usd
from replicate_proxy.costs.shipped_prices import load_hardware_prices
from replicate_proxy.images.options import ImageFormat
from replicate_proxy.jobs.model import FallbackCause
from replicate_proxy.model_entries.document import MAX_ENTRIES
from replicate_proxy.operations.bulk.model import MAX_JOBS, BulkAction
from replicate_proxy.operations.dead_letters import DeadLetterFilter
from replicate_proxy.pauses.pause import PausedActivity, PauseMode

_DAY_SECONDS = 24 * 3600
_MAX_OVERLAP_SECONDS = int(MAX_ROTATION_OVERLAP / timedelta(seconds=1))


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
_SEGMENT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_FULL_NAME_PATTERN = describe_pattern(rf"^{_SEGMENT}/{_SEGMENT}$", "must be of the form owner/name")
_TARGET_PATTERN = describe_pattern(
    rf"^(?:|[0-9a-f]{{64}}|{_SEGMENT}/{_SEGMENT}(?::[0-9a-f]{{64}})?|deployments/{_SEGMENT}/{_SEGMENT})$",
    "must be owner/name, owner/name:version, the ID of a version, or deployments/owner/name",
)
_USD_PATTERN = describe_pattern(
    r"^\d{1,6}(?:\.\d{1,12})?$", "must be an amount in US dollars such as 0.003, with at most 12 decimals"
)
_BUDGET_PATTERN = describe_pattern(
    r"^[0-9]{1,9}(?:\.[0-9]{1,6})?$", "must be an amount in US dollars such as 12.50, with at most 6 decimals"
)
_TOKEN_PATTERN = describe_pattern(r"^[!-~]+$", "must be printable ASCII characters without spaces")
_Usd = Annotated[str, StringConstraints(pattern=_USD_PATTERN)]
_FullName = Annotated[str, StringConstraints(pattern=_FULL_NAME_PATTERN)]
_EntryInput = Annotated[ModelInput, Field(max_length=100)]
_Label = Annotated[str, StringConstraints(max_length=100)]
_IpRanges = Annotated[tuple[Annotated[str, AfterValidator(_normalize_ip_range)], ...], Field(max_length=50)]
_MaxConcurrency = Annotated[int, Field(ge=1, le=MAX_CONCURRENCY)]
_BudgetUsd = Annotated[str, StringConstraints(pattern=_BUDGET_PATTERN)]
_MODEL_PATTERN = describe_pattern(
    r"^(?:[0-9a-f]{64}|(?:deployments/)?[A-Za-z0-9._-]+/(?:[A-Za-z0-9._-]+|\*))$",
    "must be owner/name, owner/*, deployments/owner/name, or the ID of a version",
)
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
    """PUT /admin/tenants/{name}. Replaces all settings; a missing `private_outputs` stays as it is."""

    display_name: _Label = ""
    images: ImagesBody = ImagesBody()
    private_outputs: bool | None = None
    token_limits: LimitsBody | None = None
    retention: Annotated[str, StringConstraints(max_length=20)] | None = None


class EraseTenantBody(RequestBody):
    """DELETE /admin/tenants/{name}: the name once more."""

    confirm: str


class PriceBody(RequestBody):
    """US dollars as text for each unit that Replicate bills, or the hardware that the model runs on.

    `source` and `as_of` say where the price is from; that of a hardware is known.
    """

    hardware: str | None = None
    per_second: _Usd | None = None
    per_image: _Usd | None = None
    per_run: _Usd | None = None
    per_input_token: _Usd | None = None
    per_output_token: _Usd | None = None
    per_output_second: _Usd | None = None
    source: Annotated[str, StringConstraints(min_length=1, max_length=300)] | None = None
    as_of: date | None = None

    @model_validator(mode="after")
    def _require_amount_and_origin(self) -> Self:
        if self.hardware is not None:
            return self._require_known_hardware()
        if not any(name.startswith("per_") for name in self.model_dump(exclude_none=True)):
            raise ValueError("must have an amount such as per_image, or the hardware")
        if self.source is None or self.as_of is None:
            raise ValueError("must have source and as_of")
        return self

    def _require_known_hardware(self) -> Self:
        known = load_hardware_prices()["per_second"]
        if self.hardware not in known:
            raise ValueError(f"hardware must be one of {', '.join(known)}")
        if self.per_second is not None:
            raise ValueError("hardware and per_second exclude each other")
        return self

    def to_record(self) -> dict[str, str]:
        """Return the price as it is stored; the hardware is replaced by what it costs today."""
        record = self.model_dump(mode="json", exclude_none=True)
        hardware = record.pop("hardware", None)
        if hardware is None:
            return record
        prices = load_hardware_prices()
        origin = {"source": prices["source"], "as_of": prices["as_of"]}
        return {**origin, "per_second": prices["per_second"][hardware], **record}


class FallbackBody(RequestBody):
    """What runs instead. `fields` renames input fields, or leaves out those that are null."""

    target: Annotated[str, StringConstraints(pattern=_TARGET_PATTERN, min_length=1)]
    fields: Annotated[dict[str, str | None], Field(max_length=100)] = Field(default_factory=dict)
    price: PriceBody | None = None


class PutModelEntryBody(RequestBody):
    """PUT /admin/models/{owner}/{name}. Replaces the entry; a `name` must be that of the path."""

    name: _FullName | None = None
    target: Annotated[str, StringConstraints(pattern=_TARGET_PATTERN)] = ""
    description: Annotated[str, StringConstraints(max_length=500)] = ""
    defaults: _EntryInput = Field(default_factory=dict)
    forced: _EntryInput = Field(default_factory=dict)
    allowed_tenants: Annotated[tuple[_TenantName, ...], Field(max_length=100)] = ()
    timeout_seconds: Annotated[int, Field(ge=5, le=86_400)] | None = None
    max_concurrency: _MaxConcurrency | None = None
    images: ImagesBody = ImagesBody()
    price: PriceBody | None = None
    cost_ceiling_usd: _BudgetUsd | None = None
    fallbacks: Annotated[tuple[FallbackBody, ...], Field(max_length=5)] = ()
    fallback_on: tuple[FallbackCause, ...] = tuple(FallbackCause)
    fallback_after_seconds: Annotated[int, Field(ge=5, le=3600)] | None = None
    validate_input: bool = True

    @field_validator("fallback_after_seconds")
    @classmethod
    def _require_fallbacks(cls, seconds: int | None, info: ValidationInfo) -> int | None:
        if seconds is None:
            return None
        if not info.data.get("fallbacks", True):
            raise ValueError("needs fallbacks")
        if FallbackCause.QUEUE_TIME not in info.data.get("fallback_on", FallbackCause):
            raise ValueError("needs queue_time in fallback_on")
        return seconds


class ModelEntryBody(PutModelEntryBody):
    """An entry of PUT /admin/models."""

    name: _FullName


class PutModelEntriesBody(RequestBody):
    """PUT /admin/models. Replaces all entries."""

    models: Annotated[list[ModelEntryBody], Field(max_length=MAX_ENTRIES)]


class PutBudgetBody(RequestBody):
    """PUT /admin/tenants/{name}/budget and /admin/keys/{id}/budget: limits in US dollars, null for none."""

    day_usd: _BudgetUsd | None = None
    month_usd: _BudgetUsd | None = None

    @model_validator(mode="after")
    def _require_limit(self) -> Self:
        if self.day_usd is None and self.month_usd is None:
            raise ValueError("must set day_usd or month_usd")
        return self

    def to_limits(self) -> BudgetLimits:
        day, month = (None if text is None else parse_usd(text) for text in (self.day_usd, self.month_usd))
        return BudgetLimits(day_micro_usd=day, month_micro_usd=month)


class PutConcurrencyBody(RequestBody):
    """PUT /admin/tenants/{name}/concurrency: how many predictions of the tenant run at a time."""

    max_concurrency: _MaxConcurrency


class ResumeBody(RequestBody):
    """POST /admin/resume: what goes on, and the tenant; null or missing for all."""

    activity: PausedActivity = PausedActivity.PREDICTIONS
    tenant: _TenantName | None = None


class PauseBody(ResumeBody):
    """POST /admin/pause: what stops, what happens to new creates, and why.

    The mode of a pause of predictions is required, so that no empty body stops everything.
    """

    mode: PauseMode | None = None
    reason: Annotated[str, StringConstraints(max_length=200)] = ""

    @model_validator(mode="after")
    def _check_mode(self) -> Self:
        if self.activity is PausedActivity.DELIVERIES and self.mode is PauseMode.REFUSE:
            raise ValueError("mode can only be hold: deliveries wait while they are paused")
        if self.activity is PausedActivity.PREDICTIONS and self.mode is None:
            raise ValueError("mode is required: hold or refuse")
        return self

    @property
    def pause_mode(self) -> PauseMode:
        return self.mode or PauseMode.HOLD


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


class JobFilterBody(RequestBody):
    """Which jobs: the parameters of GET /admin/jobs. Their values are checked where those are."""

    status: str | None = None
    tenant: str | None = None
    model: str | None = None
    key: str | None = None
    batch: str | None = None
    metadata: str | None = None
    error_class: str | None = None
    older_than: Annotated[int, Field(ge=0, le=999_999_999)] | None = None
    created_after: str | None = None
    created_before: str | None = None

    def to_texts(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.model_dump(exclude_none=True).items()}


class BulkOperationBody(RequestBody):
    """POST /admin/bulk-operations: nothing is started without the number of jobs that are to match."""

    action: BulkAction
    filter: JobFilterBody
    expected_count: Annotated[int, Field(ge=0, le=MAX_JOBS)] | None = None


class PutReplicateTokenBody(RequestBody):
    """PUT /admin/tenants/{name}/replicate-token: printable characters without spaces."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=_TOKEN_PATTERN)] = Field(
        repr=False
    )


class StartReplayBody(RequestBody):
    """POST /admin/replays: the period of the events, and the rules; all of ours without any."""

    start: UtcTime = Field(alias="from")
    end: UtcTime = Field(alias="to")
    rules: Annotated[tuple[_Label, ...], Field(max_length=10)] = ()


class TripBreakerBody(RequestBody):
    """POST /admin/breaker/trip: for how long; null is as long as the breaker opens by itself."""

    seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
