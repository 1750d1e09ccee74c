"""The record of a model entry, and how it changes a create request. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from replicate_proxy.errors import ApiError
from replicate_proxy.jobs.model import Fallback, FallbackCause, Submission, SubmissionKind
from replicate_proxy.stored_fields import build_from_stored

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEPLOYMENT_PREFIX = "deployments/"


@dataclass(frozen=True, slots=True, kw_only=True)
class FallbackTarget:
    """What runs if an earlier target fails. `fields` renames input fields; None leaves one out."""

    target: str
    fields: Mapping[str, str | None] = field(default_factory=dict)
    price: Mapping[str, str] | None = None

    def to_fallback(self) -> Fallback:
        return Fallback(submission=parse_target(self.target), fields=self.fields, price=self.price)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """What applies to predictions of the model `name` (`owner/name`).

    `target` is what runs: `owner/name`, `owner/name:version`, a version ID, or `deployments/owner/name`;
    empty for the model of that name itself. The caller's input replaces `defaults`, and `forced` replaces the
    caller's. `allowed_tenants` is empty for all. `timeout_seconds` cancels what takes longer. At most
    `max_concurrency` predictions run at a time. `images` are the image options of requests that choose none,
    `price` is a record of `costs.prices.Price`, and `cost_ceiling_usd` what budgets reserve where the price
    bounds no prediction. `fallbacks` run one after the other, for the causes in `fallback_on`.
    `fallback_after_seconds` is the queue time after which the next one runs, None for no limit.
    `validate_input` False leaves the validation to Replicate.
    """

    name: str
    target: str = ""
    description: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    forced: Mapping[str, Any] = field(default_factory=dict)
    allowed_tenants: tuple[str, ...] = ()
    timeout_seconds: int | None = None
    max_concurrency: int | None = None
    images: Mapping[str, Any] = field(default_factory=dict)
    price: Mapping[str, str] | None = None
    cost_ceiling_usd: str | None = None
    fallbacks: tuple[FallbackTarget, ...] = ()
    fallback_on: tuple[FallbackCause, ...] = tuple(FallbackCause)
    fallback_after_seconds: int | None = None
    validate_input: bool = True

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        parsed = {
            "allowed_tenants": tuple(record.get("allowed_tenants", ())),
            "fallbacks": tuple(
                build_from_stored(FallbackTarget, fallback) for fallback in record.get("fallbacks", ())
            ),
            "fallback_on": tuple(map(FallbackCause, record.get("fallback_on", FallbackCause))),
        }
        return build_from_stored(cls, record, **parsed)

    @property
    def is_alias(self) -> bool:
        """Return whether another model than the one of that name runs."""
        return bool(self.target) and self.target != self.name

    def check_tenant(self, tenant: str) -> None:
        """Raise a 403 ApiError if the tenant may not run the model."""
        if self.allowed_tenants and tenant not in self.allowed_tenants:
            raise ApiError(403, "Model not allowed", "This tenant may not run that model")

    def build_input(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the input that is sent to Replicate."""
        return {**self.defaults, **given, **self.forced}

    def build_submission(self, requested: Submission) -> Submission:
        """Return what runs for a requested submission; a version that the caller has pinned stays."""
        if not self.target or requested.version_id != "hidden":
            return requested
        return parse_target(self.target)

    def limit_seconds(self, cancel_after_seconds: int | None) -> int | None:
        """Return after how many seconds to cancel: the caller's wish, at most the entry's timeout."""
        limits = [seconds for seconds in (cancel_after_seconds, self.timeout_seconds) if seconds is not None]
        return min(limits, default=None)


def parse_target(target: str) -> Submission:
    """Return the submission that runs a target."""
    if target.startswith(_DEPLOYMENT_PREFIX):
        owner, _, name = target.removeprefix(_DEPLOYMENT_PREFIX).partition("/")
        return Submission(kind=SubmissionKind.DEPLOYMENT, owner=owner, name=name)
    if ":" in target or "/" not in target:
        return Submission(kind=SubmissionKind.VERSION, version=target)
    owner, _, name = target.partition("/")
    return Submission(kind=SubmissionKind.MODEL, owner=owner, name=name)
