"""Several predictions asked for in one request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["LARGEST_BATCH", "Batch"]

# Batch and jobs are written in one transaction, which holds 100 items and 4 MB (Amazon DynamoDB, "Amazon
# DynamoDB Transactions: How it works"); a job takes a few kilobytes, since larger inputs lie in S3.
LARGEST_BATCH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What was asked for together. Never changes: where its jobs are is in the jobs."""

    tenant: str
    id: str
    created_at: datetime
    base_url: str
    job_ids: tuple[str, ...]
    expires_at: int | None = None
