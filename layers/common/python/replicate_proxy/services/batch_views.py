"""The view of a batch of either kind, without its predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.contracts.large_batches import build_large_batch_view
from replicate_proxy.contracts.predictions import build_batch_summary

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.services.batch_reader import BatchState


def summarize_batch(state: BatchState, now: datetime) -> dict[str, Any]:
    """Return what lists show of a batch."""
    if state.batch.large is not None:
        return build_large_batch_view(state.batch, state.batch.large, state.counts, now)
    return build_batch_summary(state.batch, state.jobs)
