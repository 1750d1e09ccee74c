"""Broken variants of API keys, the audit trail, and accounts of tenants at Replicate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.accounts.per_account import PerAccount
from replicate_proxy.audit.log import StoredAuditLog
from replicate_proxy.auth.keys import ApiKey, rotate_key
from replicate_proxy.aws.audit_store import DynamoAuditStore
from replicate_proxy.aws.dynamodb import to_item
from replicate_proxy.aws.key_store import DynamoKeyStore, record_from_key
from replicate_proxy.jobs.model import SHARED_ACCOUNT
from replicate_proxy.operations import keys
from replicate_proxy.replicate_api.callback_url import AttemptReference
from replicate_proxy.replicate_api.predictions import UpstreamPredictionReader
from replicate_proxy.services.dispatch import Dispatcher
from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.model import Account, Job

_WITH_ACCOUNTS = RunSettings(jobs=25, own_account_share=1.0)


def _move_head_without_condition(self: Any, record: Any) -> Any:
    item = _build_head_update(self, record)
    del item["Update"]["ConditionExpression"]
    item["Update"]["ExpressionAttributeValues"].pop(":old", None)
    return item


def _save_key_without_condition(self: Any, key: ApiKey) -> ApiKey:
    saved = replace(key, revision=key.revision + 1)
    self._client.put_item(TableName=self._table, Item=to_item(record_from_key(saved)))
    return saved


def _rotate_and_keep_one(*arguments: Any, **options: Any) -> Any:
    key, secret = rotate_key(*arguments, **options)
    return replace(key, previous_digests=key.previous_digests[:1]), secret


def _read_with_the_shared_token(self: Any, account: Account) -> Any:
    value = _get_of_account(self, account)
    return _get_of_account(self, SHARED_ACCOUNT) if isinstance(value, UpstreamPredictionReader) else value


def _assign_present_account(self: Any, job: Job) -> Job:
    return replace(job, replicate_account=self._find_account(job.tenant).name)


_get_of_account: Callable[..., Any] = PerAccount.of
_build_head_update: Callable[..., Any] = DynamoAuditStore._build_head_update  # noqa: SLF001 - what is broken

ACCESS_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a change of a key overwrites other changes",
        "changes of a key do not undo each other",
        ((DynamoKeyStore, "save", _save_key_without_condition),),
    ),
    Mutant(
        "a rotation invalidates all secrets but the last two",
        "a secret keeps its grace",
        ((keys, "rotate_key", _rotate_and_keep_one),),
    ),
    Mutant(
        "a change whose process has ended is not recorded",
        "every change has one record",
        ((StoredAuditLog, "close_abandoned", lambda _self: None),),
    ),
    Mutant(
        "a change is made without its intent",
        "every change is recorded",
        ((DynamoAuditStore, "begin", lambda _self, _intent: None),),
    ),
    Mutant(
        "a record does not ask whether another was appended",
        "the audit chain is whole",
        ((DynamoAuditStore, "_build_head_update", _move_head_without_condition),),
    ),
    Mutant(
        "predictions in a tenant's account are read with the shared token",
        "a paid result is not dropped",
        ((PerAccount, "of", _read_with_the_shared_token),),
        mix=FaultMix(webhooks=Rates(lost=0.5)),
        settings=_WITH_ACCOUNTS,
    ),
    Mutant(
        "all webhooks are verified with the secret of the shared account",
        "genuine webhooks are accepted",
        ((AttemptReference, "account", property(lambda _self: SHARED_ACCOUNT)),),
        settings=_WITH_ACCOUNTS,
    ),
    Mutant(
        "a further attempt runs in the account that the tenant has by then",
        "a job runs in one account",
        ((Dispatcher, "_assign_account", _assign_present_account),),
        settings=_WITH_ACCOUNTS,
    ),
)
