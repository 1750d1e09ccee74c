"""The JSON shapes of large batches and of their results."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.predictions import PREDICTION_STATUS, build_cost
from replicate_proxy.costs.money import format_usd

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.batches.model import BatchCounts, BatchLine, LargeBatch
    from replicate_proxy.jobs.model import Batch, Job


_MAX_ESTIMATE_SECONDS = 30 * 86_400


def build_large_batch_view(
    batch: Batch, large: LargeBatch, counts: BatchCounts, now: datetime
) -> dict[str, Any]:
    """Return the batch with its counts and progress."""
    url = f"{batch.public_base_url}/v1/batches/{batch.id}"
    total = large.estimate_lines()
    canceled = counts.canceled + large.skipped
    ended = counts.ended + large.skipped + large.rejected
    view: dict[str, Any] = {
        "id": batch.id,
        "status": "completed" if large.is_completed else "processing",
        "created_at": format_timestamp(batch.created_at),
        "input_file": large.input_file,
        "total": total,
        "total_is_estimated": not large.is_expanded,
        "counts": {
            "unfinished": max(total - ended, 0),
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "canceled": canceled,
            "rejected": large.rejected,
        },
        "progress": {
            "phase": large.phase.value,
            "percent": _calculate_percentage(large, ended, total),
            "expected_end_at": _estimate_end(batch, large, counts.ended, total - ended, now),
        },
        "cost": {"usd": format_usd(counts.cost_micro_usd), "unknown": counts.unknown_costs},
        "error": large.error,
        "urls": {"get": url, "cancel": f"{url}/cancel", "results": f"{url}/results"},
        "expires_at": format_timestamp(large.delete_at),
    }
    if large.cancel_requested_at is not None:
        view["cancel_requested_at"] = format_timestamp(large.cancel_requested_at)
    if large.completed_at is not None:
        view["completed_at"] = format_timestamp(large.completed_at)
    if large.webhook is not None:
        view["webhook"] = large.webhook
    return view


def build_line_view(batch: Batch, line: BatchLine, job: Job | None) -> dict[str, Any]:
    """Return the result of a line, without its output; a line whose job is None has none, or not any more."""
    view: dict[str, Any] = {
        "line": line.number,
        "custom_id": line.custom_id,
        "id": None,
        "status": line.status.value if line.status is not None else "deleted",
        "output": None,
        "error": line.error,
    }
    if line.invalid_fields:
        view["invalid_fields"] = [dict(field) for field in line.invalid_fields]
    if line.status is None:
        view["id"] = line.derive_job_id(batch.id)
    if job is not None:
        view |= {
            "status": PREDICTION_STATUS[job.status],
            "error": job.error,
            "cost": build_cost(job.cost, job.account) if job.cost else None,
        }
    return view


def _calculate_percentage(large: LargeBatch, ended: int, total: int) -> int:
    if large.is_completed or not total:
        return 100 if large.is_completed else 0
    return min(100 * ended // total, 99)


def _estimate_end(batch: Batch, large: LargeBatch, ended: int, left: int, now: datetime) -> str | None:
    """Return when all predictions will have ended at the average pace so far; None if none has ended yet."""
    if large.is_completed or not ended:
        return None
    seconds = (now - batch.created_at).total_seconds() * max(left, 0) / ended
    return format_timestamp(now + timedelta(seconds=min(seconds, _MAX_ESTIMATE_SECONDS)))
