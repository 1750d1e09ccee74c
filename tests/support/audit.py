"""The audit trail on the in-memory AWS."""

from __future__ import annotations

from replicate_proxy.aws.audit_store import DynamoAuditStore
from tests.support.aws import AUDIT_TABLE, create_in_memory_aws
from tools.simulation.audit_invariants import NoAuditLog

__all__ = ["NoAuditLog", "build_audit_store"]


def build_audit_store() -> DynamoAuditStore:
    return DynamoAuditStore(create_in_memory_aws().client("dynamodb"), AUDIT_TABLE)
