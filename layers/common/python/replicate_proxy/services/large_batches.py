"""Create and cancel large batches, whose predictions come from a file. The worker does the rest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.background_worker import start_worker
from replicate_proxy.batches.model import MAX_FILE_BYTES, LargeBatch
from replicate_proxy.clock import truncate_to_milliseconds
from replicate_proxy.errors import ConflictError, NotFoundError, RetryableError, field_error
from replicate_proxy.ids import hash_idempotency_key
from replicate_proxy.jobs.model import Batch
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.services.ingest import (
    find_reserved_id,
    find_written,
    reserve_id,
    unconfirmed_write,
)
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.background_worker import WorkerStarter
    from replicate_proxy.batches.ports import LargeBatchStore
    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.ports import Clock, IdempotencyStore
    from replicate_proxy.services.ingest import JobFactory


_MAX_CONFLICTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeBatchRequest:
    """A validated request for a batch. What comes from headers applies to every line."""

    input_file: str
    public_base_url: str
    correlation_id: str
    webhook: str | None = None
    image_options: Mapping[str, Any] | None = None
    cancel_after_seconds: int | None = None
    retention_seconds: int | None = None
    idempotency_key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def calculate_fingerprint(self) -> str:
        """Return a hash of everything that distinguishes one request from another."""
        fields = [
            "large batch",
            self.input_file,
            self.webhook,
            self.image_options,
            self.cancel_after_seconds,
            *([dict(self.metadata)] if self.metadata else []),
        ]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


class LargeBatchService:
    """Accepts batches and cancels. Both are durable once they are stored: the sweep starts the worker too.

    `find_file` returns an input file of a tenant. It raises NotFoundError.
    """

    def __init__(
        self,
        *,
        store: LargeBatchStore,
        idempotency: IdempotencyStore,
        find_file: Callable[[str, str], StoredFile],
        factory: JobFactory,
        starter: WorkerStarter | None,
        clock: Clock,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._store = store
        self._idempotency = idempotency
        self._find_file = find_file
        self._factory = factory
        self._starter = starter
        self._clock = clock
        self._checkpoint = checkpoint

    def create(self, request: LargeBatchRequest, principal: Principal) -> tuple[Batch, bool]:
        """Return the batch, and whether the idempotency key has created it before.

        Raises a 422 ApiError if the file cannot be used, a 409 ApiError if the key was used for another
        request, and RetryableError if the batch is not stored.
        """
        earlier = self._find_earlier(request, principal.tenant)
        if earlier is not None:
            count(Metric.JOB_REPLAYED)
            return earlier, True
        file = self._check_file(principal.tenant, request.input_file)
        batch_id = reserve_id(
            self._idempotency,
            principal.tenant,
            request.idempotency_key,
            request.calculate_fingerprint,
            clock=self._clock,
            checkpoint=self._checkpoint,
        )
        batch = self._build_batch(request, principal, file, batch_id)
        try:
            batch = self._store.create(batch)
        except (ConflictError, RetryableError) as error:
            stored = find_written(self._store.get, principal.tenant, batch_id, request.idempotency_key)
            if stored is None:
                raise unconfirmed_write(request.idempotency_key) from error
            return stored, stored.created_at != batch.created_at
        self._checkpoint("ingest.batch_stored")
        logger.info("batch accepted", batch_id=batch.id, tenant=batch.tenant, bytes=file.size_bytes)
        start_worker(self._starter)
        return batch, False

    def cancel(self, tenant: str, batch_id: str) -> Batch:
        """Have the worker cancel what is not final. Does nothing if nothing is. Raises NotFoundError."""
        for _ in range(_MAX_CONFLICTS):
            batch = self._store.get(tenant, batch_id)
            if batch is None or batch.large is None:
                raise NotFoundError("no such batch")
            large = batch.large
            if large.cancel_requested_at is not None or large.completed_at is not None:
                return batch
            try:
                batch = self._request_cancel(batch, large)
            except ConflictError:
                continue
            self._checkpoint("ingest.batch_cancel_stored")
            start_worker(self._starter)
            return batch
        raise RetryableError("the batch keeps changing", retry_after=1)

    def _request_cancel(self, batch: Batch, large: LargeBatch) -> Batch:
        now = truncate_to_milliseconds(self._clock.now())
        large_canceled = replace(large, cancel_requested_at=now, due_at=min(large.due_at, now))
        canceled = replace(batch, large=large_canceled)
        # One that is due later has failed, or ended the process of the worker.
        return self._store.hasten(canceled) if large.due_at > now else self._store.replace(canceled)

    def _find_earlier(self, request: LargeBatchRequest, tenant: str) -> Batch | None:
        """Return the batch of the same request, whose file may be gone by now."""
        fingerprint = request.calculate_fingerprint()
        key = request.idempotency_key
        batch_id = find_reserved_id(self._idempotency, tenant, key, fingerprint, self._clock)
        return self._store.get(tenant, batch_id) if batch_id else None

    def _check_file(self, tenant: str, file_id: str) -> StoredFile:
        try:
            file = self._find_file(tenant, file_id)
        except NotFoundError:
            raise field_error("input_file", "is not the ID of one of your files") from None
        if file.size_bytes is None:
            raise field_error("input_file", "is not uploaded yet")
        if not 0 < file.size_bytes <= MAX_FILE_BYTES:
            raise field_error(
                "input_file",
                f"must not be empty or larger than {MAX_FILE_BYTES} bytes",
                error_type="too_large",
            )
        return file

    def _build_batch(
        self, request: LargeBatchRequest, principal: Principal, file: StoredFile, batch_id: str
    ) -> Batch:
        now = truncate_to_milliseconds(self._clock.now())
        retention = (
            timedelta(seconds=request.retention_seconds)
            if request.retention_seconds
            else self._factory.retention
        )
        return Batch(
            tenant=principal.tenant,
            id=batch_id,
            created_at=now,
            public_base_url=request.public_base_url,
            idempotency_hash=hash_idempotency_key(request.idempotency_key),
            expires_at=self._factory.calculate_expiry(now),
            large=LargeBatch(
                input_file=file.id,
                object_key=file.object_key,
                size_bytes=file.size_bytes or 0,
                key_id=principal.key_id,
                models=principal.models,
                correlation_id=request.correlation_id,
                webhook=request.webhook,
                image_options=request.image_options,
                cancel_after_seconds=request.cancel_after_seconds,
                retention_seconds=request.retention_seconds,
                metadata=request.metadata,
                due_at=now,
                delete_at=now + retention,
            ),
        )
