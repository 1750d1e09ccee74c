"""Works on erasures, page by page.

The items of a page are counted and saved with the progress before they are removed. A crash makes the next
run remove them again, which does nothing twice, and count them once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicate_proxy.audit.actor import acting_as
from replicate_proxy.audit.model import Actor, AuditAction
from replicate_proxy.errors import ConflictError, ProxyError
from replicate_proxy.observability import Metric, count_failure, logger
from replicate_proxy.operations.erasure.model import ErasureStatus, ErasureStep
from replicate_proxy.operations.erasure.service import build_target, describe_erasure
from replicate_proxy.testing.checkpoints import no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.background_worker import WorkerLease
    from replicate_proxy.operations.erasure.model import Erasure, ErasurePage
    from replicate_proxy.operations.erasure.ports import (
        ErasureStore,
        TenantAccess,
        TenantPlace,
        TenantPredictions,
        TenantSettings,
    )
    from replicate_proxy.ports import Clock
    from replicate_proxy.testing.checkpoints import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureWorker:
    """Goes on with all erasures that are due. `places` have an order that must not change while one runs."""

    store: ErasureStore
    access: TenantAccess
    predictions: TenantPredictions
    settings: TenantSettings
    places: Sequence[TenantPlace]
    lease: WorkerLease
    audit: AuditLog
    clock: Clock
    checkpoint: Checkpoint = no_checkpoint

    def run(self, deadline: datetime, *, lease_until: datetime) -> int:
        """Work until the deadline, or until nothing is due; return the number of steps.

        Does nothing while another worker runs. One that crashes loses its lease at `lease_until`.
        """
        with self.lease.hold(lease_until) as is_free:
            if not is_free:
                logger.info("erasures skipped, another worker is running")
                return 0
            due = self.store.list_due(self.clock.now())
            return sum([self._continue(erasure, deadline) for erasure in due])

    def _continue(self, erasure: Erasure, deadline: datetime) -> int:
        """Work on an erasure as long as it is due. One that fails must not stop the others."""
        actor = Actor(key_id=erasure.key_id, source=erasure.source, correlation_id=erasure.correlation_id)
        steps = 0
        with acting_as(actor), logger.append_context_keys(tenant=erasure.tenant):
            try:
                while erasure.due_at <= (now := self.clock.now()) < deadline:
                    if erasure.status is ErasureStatus.COMPLETED:
                        self._close(erasure)
                        break
                    erasure = self._take_step(erasure, now)
                    steps += 1
            except ConflictError:
                logger.info("erasure left to the worker that has gone on with it")
            except ProxyError as error:
                logger.warning("erasure postponed", reason=f"{type(error).__name__}: {error}")
                count_failure(Metric.DELETION_FAILED, error)
            except Exception as error:  # noqa: BLE001 - a bug in one erasure must not stop the others
                logger.exception("erasure postponed unexpectedly")
                count_failure(Metric.DELETION_FAILED, error)
        return steps

    def _take_step(self, erasure: Erasure, now: datetime) -> Erasure:
        match erasure.step:
            case ErasureStep.PREDICTIONS:
                return self._end_predictions(erasure, now)
            case ErasureStep.SETTINGS:
                self.settings.remove(erasure.tenant)
                self.checkpoint("admin.erasure_settings_removed")
                return self._save(replace(erasure, step=ErasureStep.DATA))
            case _:
                return self._remove_data(erasure, now)

    def _end_predictions(self, erasure: Erasure, now: datetime) -> Erasure:
        if erasure.pending:
            self.predictions.delete(erasure.tenant, erasure.pending)
            erasure = replace(erasure, pending=())
            if erasure.cursor is None:
                return self._save(erasure.end_round(now))
        if erasure.cursor is None:
            self.access.block(erasure.tenant, erasure.started_at, erasure.stage)
            self.predictions.cancel_batches(erasure.tenant)
            erasure = replace(erasure, found=0, unfinished=0)
        page, unfinished = self.predictions.list_page(erasure.tenant, erasure.cursor)
        erasure = replace(
            erasure, found=erasure.found + len(page.items), unfinished=erasure.unfinished + unfinished
        )
        if page.items or page.cursor is not None:
            return self._save_page(erasure, page)
        return self._save(replace(erasure, cursor=None).end_round(now))

    def _remove_data(self, erasure: Erasure, now: datetime) -> Erasure:
        place = self.places[erasure.position]
        if erasure.pending:
            place.remove(erasure.pending)
            self.checkpoint("admin.erasure_page_removed")
            erasure = replace(erasure, pending=())
            if erasure.cursor is None:
                return self._leave_place(erasure, now)
        page = place.read(erasure.tenant, erasure.cursor, is_last_pass=erasure.is_last_pass)
        if page.kept_until is not None:
            # In the last pass they are due: the sweep is late.
            known = now if erasure.is_last_pass else erasure.tombstones_until or page.kept_until
            erasure = replace(erasure, tombstones_until=max(page.kept_until, known))
        if page.items or page.cursor is not None:
            return self._save_page(erasure, page)
        return self._leave_place(replace(erasure, cursor=None), now)

    def _save_page(self, erasure: Erasure, page: ErasurePage) -> Erasure:
        saved = self._save(replace(erasure, pending=page.items, cursor=page.cursor).count(page.kinds))
        self.checkpoint("admin.erasure_page_counted")
        return saved

    def _leave_place(self, erasure: Erasure, now: datetime) -> Erasure:
        if erasure.position + 1 < len(self.places):
            return self._save(replace(erasure, position=erasure.position + 1))
        following = erasure.end_pass(now)
        if following.status is erasure.status:
            return self._save(following)
        action = (
            AuditAction.END_ERASURE
            if following.status is ErasureStatus.COMPLETED
            else AuditAction.EMPTY_TENANT
        )
        with self.audit.change(
            action, build_target(erasure.tenant), tenant=erasure.tenant, before=describe_erasure(erasure)
        ) as change:
            saved = self._save(following)
            change.after = describe_erasure(saved)
        logger.info("erasure of tenant has ended a pass", **describe_erasure(saved))
        return saved

    def _close(self, erasure: Erasure) -> None:
        self.access.unblock(erasure.tenant, erasure.started_at)
        self.checkpoint("admin.erasure_unblocked")
        self.store.close(erasure)

    def _save(self, erasure: Erasure) -> Erasure:
        return self.store.replace(erasure)
