"""The worker of large batches on a local stack."""

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore
from replicate_proxy.clock import SystemClock
from replicate_proxy.errors import ConflictError
from tools.local.leases import end_lease
from tools.local.stack import Stack

_MAX_BATCHES = 50


def start_worker(stack: Stack) -> None:
    """Have the worker run, as ingest and the sweep do."""
    stack.get_client("lambda").invoke(
        FunctionName=stack.function_names["batch"], InvocationType="Event", Payload=b"{}"
    )


def end_waits_after_crash(stack: Stack) -> None:
    """Have the next run go on at once: a crash leaves the lease held, and batches that are due later."""
    end_lease(stack, "batches")
    store = DynamoLargeBatchStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"])
    now = SystemClock().now()
    soon = now + timedelta(hours=1)
    # Each list puts the marks right of batches whose time has changed: to their late times, and back.
    store.list_due(soon, limit=_MAX_BATCHES)
    for batch in store.list_due(soon, limit=_MAX_BATCHES):
        if batch.large is not None and not batch.large.is_completed:
            with suppress(ConflictError):
                store.replace(replace(batch, large=replace(batch.large, due_at=now, interruptions=0)))
    store.list_due(soon, limit=_MAX_BATCHES)
