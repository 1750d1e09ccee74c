"""Broken variants of what operators and owners do: redeliveries, repeated harvests, pauses and limits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.budget_store import DynamoBudgetStore
from replicate_proxy.concurrency.limits import ConcurrencyLimits
from replicate_proxy.operations.keys import KeyService
from replicate_proxy.operations.redeliveries import AuditedRedeliveries
from replicate_proxy.pauses.pause import PauseSwitch
from replicate_proxy.services.harvest import JobHarvester
from replicate_proxy.webhooks import redelivery, retry_policy
from replicate_proxy.webhooks.delivery_updater import LoadedDelivery
from replicate_proxy.webhooks.model import DeliveryStatus, parse_delivery_id
from replicate_proxy.webhooks.redelivery import RedeliveryService
from replicate_proxy.webhooks.request_builder import RequestBuilder
from tools.simulation.callers import TENANTS
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable

_WITH_REDELIVERIES = RunSettings(jobs=25, key_requests=0, redelivery_share=1.0)
_WITH_HARVESTS = RunSettings(jobs=25, key_requests=0, harvest_share=1.0)
_WITH_CHANGES = RunSettings(jobs=40, limited_share=1.0, change_share=1.0)


def _restart_without_status(delivery: Any, now: Any, settings: Any) -> Any:
    return replace(_restart(delivery, now, settings), status=delivery.status)


def _find_of_any_tenant(self: Any, _tenant: str, delivery_id: str) -> Any:
    key = parse_delivery_id(delivery_id)
    found = [self._deliveries.get(tenant, *key) for tenant in TENANTS] if key else []
    return next(delivery for delivery in found if delivery is not None)


def _load_with_attempt(self: Any, delivery: Any) -> bytes | None:
    body: bytes | None = _load_body(self, delivery)
    return body and body[:-1] + b', "attempt": %d}' % delivery.total_attempts


def _add_only_new_files(self: Any, job: Any, known: Any, result: Any) -> Any:
    stored = {record.path for record in known if record.is_stored}
    records = tuple(record for record in result.records if record.path not in stored)
    return _add_files(self, job, (), replace(result, records=records))


def _put_if_higher(self: Any, owner: Any, limits: Any) -> None:
    stored = self.get_limits(owner)
    if stored is None or limits.day_micro_usd > stored.day_micro_usd:
        _put_limits(self, owner, limits)


def _find_limit_once(self: Any, limit_name: str) -> Any:
    known = self.__dict__.setdefault("known_limits", {})
    if limit_name not in known:
        known[limit_name] = _find_max(self, limit_name)
    return known[limit_name]


def _redeliver_unrecorded(self: Any, tenant: str, delivery_id: str) -> Any:
    return self._redeliveries.redeliver(tenant, delivery_id)


_restart: Callable[..., Any] = retry_policy.restart_schedule
_load_body: Callable[..., Any] = RequestBuilder._load_body  # noqa: SLF001 - what is broken
_add_files: Callable[..., Any] = JobHarvester._add_files  # noqa: SLF001 - what is broken
_put_limits: Callable[..., Any] = DynamoBudgetStore.put_limits
_find_max: Callable[..., Any] = ConcurrencyLimits.find_max

OPERATOR_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a redelivery counts as overtaken by what succeeded before it",
        "a redelivery is sent",
        (
            (
                LoadedDelivery,
                "is_overtaken",
                property(lambda self: any(each.status is DeliveryStatus.SUCCEEDED for each in self.later)),
            ),
        ),
        settings=_WITH_REDELIVERIES,
        is_slow=True,
    ),
    Mutant(
        "a redelivery of what has succeeded sends nothing",
        "a success was taken",
        ((redelivery, "restart_schedule", _restart_without_status),),
        # Its command is never done with.
        settings=replace(_WITH_REDELIVERIES, ignored=frozenset({"every message is handled"})),
        is_slow=True,
    ),
    Mutant(
        "the deliveries of other tenants are redelivered",
        "tenants are isolated",
        ((RedeliveryService, "get_delivery", _find_of_any_tenant),),
        settings=_WITH_REDELIVERIES,
    ),
    Mutant(
        "each attempt sends another body",
        "an event stays as it is",
        ((RequestBuilder, "_load_body", _load_with_attempt),),
        settings=_WITH_REDELIVERIES,
    ),
    Mutant(
        "the redelivery of one webhook is not recorded",
        "every change is recorded",
        ((AuditedRedeliveries, "redeliver", _redeliver_unrecorded),),
        settings=_WITH_REDELIVERIES,
    ),
    Mutant(
        "a repeated harvest forgets the files that were stored before",
        "a stored file stays",
        ((JobHarvester, "_add_files", _add_only_new_files),),
        settings=_WITH_HARVESTS,
    ),
    Mutant(
        "a pause refuses nothing",
        "a refused create leaves nothing",
        ((PauseSwitch, "check", lambda _self, _tenant: None),),
        settings=RunSettings(jobs=40, key_requests=0, pause_share=1.0),
        is_slow=True,
    ),
    Mutant(
        "a budget that is lowered stays as it was",
        "a budget is not overspent",
        ((DynamoBudgetStore, "put_limits", _put_if_higher),),
        settings=_WITH_CHANGES,
        is_slow=True,
    ),
    Mutant(
        "keys are not marked when their tenant gets a budget",
        "a key knows its budget",
        ((KeyService, "mark_budgets", lambda *_arguments: None),),
        settings=_WITH_CHANGES,
        is_slow=True,
    ),
    Mutant(
        "concurrency limits are read once",
        "limits are not exceeded",
        ((ConcurrencyLimits, "find_max", _find_limit_once),),
        settings=_WITH_CHANGES,
    ),
)
