"""The audit trail, and the log that services record their changes in."""

from __future__ import annotations

import time
from functools import cache

from replicate_proxy.audit.log import StoredAuditLog
from replicate_proxy.audit.trail import AuditTrail
from replicate_proxy.aws.audit_store import DynamoAuditStore
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.settings import ACCESS_TABLE, AUDIT_TABLE


@cache
def build_audit_log() -> StoredAuditLog:
    return StoredAuditLog(_build_store(), find_key_name=_find_key_name, clock=clock, sleep=time.sleep)


@cache
def build_audit_trail() -> AuditTrail:
    return AuditTrail(_build_store(), build_audit_log().close_abandoned)


@cache
def _build_store() -> DynamoAuditStore:
    return DynamoAuditStore(get_client("dynamodb"), env[AUDIT_TABLE])


def _find_key_name(key_id: str) -> str:
    key = DynamoKeyStore(get_client("dynamodb"), env[ACCESS_TABLE]).get(key_id)
    return key.name if key else ""
