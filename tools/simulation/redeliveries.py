"""Tenants and operators who have webhooks sent again: one, all of a job, or all that have failed."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from replicate_proxy.audit.model import AuditAction, build_job_target
from replicate_proxy.aws.delivery_records import delivery_from_record
from replicate_proxy.errors import ApiError, NotFoundError, ProxyError
from replicate_proxy.operations.redeliveries import AuditedRedeliveries
from replicate_proxy.webhooks.model import Delivery, DeliveryStatus
from tools.simulation.audit_invariants import list_recorded
from tools.simulation.functions.bulk_operations import build_job_actions
from tools.simulation.functions.deliveries import build_redelivery
from tools.simulation.ground_truth import get_owner
from tools.simulation.observation import read_items
from tools.simulation.resources import Table
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.operations.ports import Redeliveries
    from tools.simulation.invariants import Invariants
    from tools.simulation.world import World

_REQUESTS = 12
_MIN_DELAY_SECONDS = 30.0
_MAX_ATTEMPTS = 4
_SINCE = timedelta(hours=3)
# A later event may have been taken shortly before the redelivery, and its success saved after it.
_SAVED_SECONDS = 120.0
_REDELIVERIES = (AuditAction.REDELIVER, AuditAction.REDELIVER_JOB, AuditAction.REDELIVER_FAILED)
_SENT = "a redelivery is sent"


class RedeliveryOperators:
    """Ask for redeliveries while other deliveries are made; reports to `invariants`."""

    def __init__(
        self, world: World, invariants: Invariants, *, tenants: Sequence[str], seconds: float
    ) -> None:
        self._world = world
        self._invariants = invariants
        self._tenants = tenants
        self._seconds = seconds
        # The targets of the audit records that there must be.
        self._confirmed: set[str] = set()
        invariants.at_rest.append(self._check)

    def start(self) -> None:
        source = random.Random(f"{self._world.scheduler.seed}/redeliveries")
        for number in range(_REQUESTS):
            delay_seconds = source.uniform(_MIN_DELAY_SECONDS, self._seconds)
            self._world.scheduler.spawn(f"redelivery-{number}", self._run, delay_seconds=delay_seconds)

    def _run(self) -> None:
        """Ask for something, and repeat a request that is not answered."""
        source = self._world.scheduler.actor.random
        tenant = source.choice(self._tenants)
        deliveries = [each for each in self._read() if each.tenant == tenant]
        if not deliveries:
            return
        chosen = source.choice(deliveries)
        self._check_others(chosen)
        service = build_redelivery(self._world.components)
        by_operator = AuditedRedeliveries(service, self._world.components.audit)
        actions = build_job_actions(self._world.components)
        call_owner = partial(self._world.call_function, "endpoints")
        call_operator = self._world.call_admin
        job = build_job_target(tenant, chosen.job_id)
        choices: Sequence[tuple[Callable[..., object], Callable[[], object], str]] = (
            (call_owner, partial(service.redeliver, tenant, chosen.id), ""),
            (call_owner, partial(self._redeliver_failed, service, tenant), ""),
            (call_operator, partial(by_operator.redeliver, tenant, chosen.id), job),
            (call_operator, partial(self._redeliver_failed, by_operator, tenant), "deliveries"),
            (call_operator, partial(actions.redeliver, tenant, chosen.job_id), job),
        )
        call, request, target = source.choice(choices)
        for attempt in range(_MAX_ATTEMPTS):
            try:
                call(request)
            except ApiError as error:
                # An attempt is in progress, or the endpoint is disabled.
                if error.status != HTTPStatus.CONFLICT:
                    raise
            except NotFoundError:
                # It was deleted meanwhile.
                return
            except (ProxyError, ProcessEndedError):
                pass
            else:
                self._confirmed.add(target)
                return
            self._world.scheduler.sleep(1.0 + attempt)

    def _redeliver_failed(self, redeliveries: Redeliveries, tenant: str) -> None:
        redeliveries.redeliver_all_failed(tenant, self._world.clock.now() - _SINCE)

    def _check_others(self, delivery: Delivery) -> None:
        """A delivery does not exist for other tenants."""
        service = build_redelivery(self._world.components)
        for tenant in self._tenants:
            if tenant == delivery.tenant:
                continue
            try:
                self._world.call_function("endpoints", partial(service.redeliver, tenant, delivery.id))
            except (ProxyError, ProcessEndedError):
                continue
            self._invariants.report("tenants are isolated", f"{tenant} redelivered {delivery.id}")

    def _read(self) -> list[Delivery]:
        return [
            delivery_from_record(record)
            for record in read_items(self._world.aws, Table.DELIVERIES)
            if record["sk"].startswith("DELIVERY#")
        ]

    def _check(self) -> None:
        self._check_superseded()
        recorded = list_recorded(self._world.aws, *_REDELIVERIES)
        for target in self._confirmed - recorded - {""}:
            self._invariants.report("every change is recorded", f"the redelivery of {target}")

    def _check_superseded(self) -> None:
        """A redelivery that counts as superseded was overtaken after it had been asked for."""
        for delivery in self._read():
            if not delivery.is_redelivery or delivery.status is not DeliveryStatus.SUPERSEDED:
                continue
            since = delivery.schedule_started_at.timestamp() - _SAVED_SECONDS
            if not any(
                taken.prediction["id"] == delivery.job_id
                and taken.sequence > delivery.sequence
                and taken.at >= since
                for url, receiver in self._world.applications.receivers.items()
                for taken in receiver.taken
                if get_owner(url) == delivery.tenant
            ):
                self._invariants.report(_SENT, f"{delivery.id} of {delivery.schedule_started_at}")
