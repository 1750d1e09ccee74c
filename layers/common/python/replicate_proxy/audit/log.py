"""Record changes in the audit trail.

The intent is stored before the change, its record after it. If the process ends in between, the intent stays,
and the next change or the next reader of the trail closes it with the outcome `unknown`
(docs/decisions/0049-audit-records-intent-and-outcome.md).
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.audit.actor import get_actor
from replicate_proxy.audit.model import (
    AuditedChange,
    AuditIntent,
    AuditOutcome,
    build_record,
    classify_failure,
    describe_failure,
    encode_state,
)
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ConflictError, DuplicateError, ProxyError, RetryableError
from replicate_proxy.ids import generate_id
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from replicate_proxy.audit.model import AuditAction
    from replicate_proxy.audit.ports import AuditStore
    from replicate_proxy.ports import Clock


# Longer than any function that makes changes may run.
_ABANDONED_AFTER = timedelta(minutes=2)
_MAX_CLOSED_AT_ONCE = 10
_MAX_ATTEMPTS = 10
_RETRY_SECONDS = 0.05


class AuditLog(Protocol):
    """Records the changes that services make."""

    def change(
        self,
        action: AuditAction,
        target: str,
        *,
        tenant: str | None = None,
        parameters: Any = None,
        before: Any = None,
    ) -> AbstractContextManager[AuditedChange]:
        """Record the change that the block makes.

        `target` names what is changed, like `keys/<id>`; `parameters` say what was asked for, where `before`
        and `after` do not. All three hold no secrets, inputs or outputs.
        """
        ...


class StoredAuditLog:
    """The AuditLog on an AuditStore.

    `find_key_name` returns the name of an API key, empty if there is none.
    """

    def __init__(
        self,
        store: AuditStore,
        *,
        find_key_name: Callable[[str], str],
        clock: Clock,
        sleep: Callable[[float], None],
    ) -> None:
        self._store = store
        self._find_key_name = find_key_name
        self._clock = clock
        self._sleep = sleep

    @contextmanager
    def change(
        self,
        action: AuditAction,
        target: str,
        *,
        tenant: str | None = None,
        parameters: Any = None,
        before: Any = None,
    ) -> Iterator[AuditedChange]:
        self.close_abandoned()
        change = AuditedChange(target, before)
        intent = self._build_intent(action, change, tenant, parameters)
        self._store.begin(intent)
        try:
            yield change
        except Exception as error:
            self._close(intent, change, classify_failure(error), describe_failure(error))
            raise
        self._close(intent, change, AuditOutcome.SUCCEEDED)

    def close_abandoned(self) -> None:
        """Write the records of changes whose process has ended without it."""
        before = format_timestamp(self._clock.now() - _ABANDONED_AFTER)
        for intent in self._store.list_abandoned(before=before, limit=_MAX_CLOSED_AT_ONCE):
            logger.warning("audited change was abandoned", action=intent.action, target=intent.target)
            self._append(
                intent, "null", AuditOutcome.UNKNOWN, "the process ended before the outcome was recorded"
            )

    def _build_intent(
        self, action: AuditAction, change: AuditedChange, tenant: str | None, parameters: Any
    ) -> AuditIntent:
        actor, now = get_actor(), self._clock.now()
        if actor.bulk_operation is not None:
            parameters = {**(parameters or {}), "bulk_operation": actor.bulk_operation}
        return AuditIntent(
            id=generate_id(now),
            started_at=format_timestamp(now),
            action=action.value,
            target=change.target,
            tenant=tenant,
            key_id=actor.key_id,
            key_name=self._find_key_name(actor.key_id),
            source=actor.source.value,
            correlation_id=actor.correlation_id,
            parameters=encode_state(parameters),
            before=encode_state(change.before),
        )

    def _close(
        self, intent: AuditIntent, change: AuditedChange, outcome: AuditOutcome, error: str = ""
    ) -> None:
        """Write the record. If that fails, the intent stays, and the change's own result is returned."""
        made = replace(intent, before=encode_state(change.before))
        try:
            self._append(made, encode_state(change.after), outcome, error)
        except ProxyError as failure:
            logger.error("audit record not written", action=intent.action, reason=str(failure))

    def _append(self, intent: AuditIntent, after: str, outcome: AuditOutcome, error: str) -> None:
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            record = build_record(
                intent,
                self._store.read_head(),
                now=format_timestamp(self._clock.now()),
                after=after,
                outcome=outcome.value,
                error=error,
            )
            try:
                self._store.append(record)
            except DuplicateError:
                return
            except (ConflictError, RetryableError):
                # Others append at the same time.
                if attempt == _MAX_ATTEMPTS:
                    raise
                self._sleep(_RETRY_SECONDS * attempt)
            else:
                # The log is a second copy of the head, out of reach of whoever can change the table.
                logger.info("audit record written", sequence=record.sequence, record_hash=record.hash)
                return
