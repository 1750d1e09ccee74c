"""The names of the stack's resources in the in-memory AWS."""

from __future__ import annotations

from enum import StrEnum

STACK = "simulation"
BUCKET = "DataBucket"
BUS = f"{STACK}-bus"
BATCH_FUNCTION = f"{STACK}-batch"
ADMIN_FUNCTION = f"{STACK}-admin"
# Each sweep reads every shard of the indexes of due times: fewer than in a deployed stack.
DUE_SHARDS = 2


class Table(StrEnum):
    """Tables."""

    JOBS = "JobsTable"
    ACCESS = "AccessTable"
    DELIVERIES = "DeliveriesTable"
    CONTROL = "ControlTable"
    USAGE = "UsageTable"
    AUDIT = "AuditTable"


class Queue(StrEnum):
    """Work queues."""

    DISPATCH = f"{STACK}-dispatch"
    BATCH_DISPATCH = f"{STACK}-batch-dispatch"
    TRACK = f"{STACK}-track"
    HARVEST = f"{STACK}-harvest"
    NOTIFY = f"{STACK}-notify"
