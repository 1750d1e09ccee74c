"""Broken variants of webhooks to applications: their order, their attempts, and what was missed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws import delivery_store
from replicate_proxy.aws.dynamodb import to_item, to_value, translate_dynamodb_errors
from replicate_proxy.aws.receiver_limit_store import DynamoReceiverLimitStore
from replicate_proxy.webhooks import deliverer
from replicate_proxy.webhooks.deliverer import Deliverer
from replicate_proxy.webhooks.delivery_updater import DeliveryUpdater, LoadedDelivery
from replicate_proxy.webhooks.notifier import Notifier
from replicate_proxy.webhooks.redelivery import RedeliveryService
from replicate_proxy.webhooks.request_builder import RequestBuilder
from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.mutant import Mutant

if TYPE_CHECKING:
    from collections.abc import Callable


def _notify_and_skip(self: Any, changes: Any) -> None:
    _notify(self, changes)


def _record_before_saving(self: Any, delivery: Any, prepared: Any, response: Any, now: Any) -> Any:
    self._record_attempt(delivery, prepared, response, None, now)
    self._updater.mark_succeeded(delivery, now)
    return self._updater.find_next(delivery)


def _put_without_write_id(
    client: Any, table: str, record: Any, operation: str, *, condition: str, values: Any = None
) -> None:
    options = {"ExpressionAttributeValues": {n: to_value(v) for n, v in values.items()}} if values else {}
    with translate_dynamodb_errors(operation):
        client.put_item(TableName=table, Item=to_item(record), ConditionExpression=condition, **options)


def _update_without_condition(self: Any, *arguments: Any, **options: Any) -> Any:
    return _update_receiver(self, *arguments, **(options | {"condition": None}))


_update_receiver: Callable[..., Any] = DynamoReceiverLimitStore._update  # noqa: SLF001 - what is broken
_LOST_RESPONSES = FaultMix(aws_writes=Rates(response_lost=0.08), runs=Rates(instant=0.3))
_notify: Callable[..., Any] = Notifier.notify

DELIVERY_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "changes that could not be recorded are skipped",
        "no event is missed",
        ((Notifier, "notify", _notify_and_skip),),
    ),
    Mutant(
        "a later event does not wait for an earlier one",
        "deliveries are in order",
        ((deliverer, "find_blocking", lambda *_arguments, **_options: []),),
    ),
    Mutant(
        "an event is sent although a later one has succeeded",
        "deliveries are in order",
        (
            (LoadedDelivery, "is_overtaken", False),
            (DeliveryUpdater, "supersede_earlier", lambda *_arguments: None),
        ),
    ),
    Mutant(
        "a success is saved after its attempt is recorded",
        "delivered once after success",
        ((Deliverer, "_finish_delivered", _record_before_saving),),
    ),
    Mutant(
        "a write does not recognize its own effect",
        "a counted attempt is sent",
        ((delivery_store, "put_record", _put_without_write_id),),
        mix=_LOST_RESPONSES,
    ),
    Mutant(
        "a repeated write counts a failure again",
        "a failed request counts once",
        ((DynamoReceiverLimitStore, "_update", _update_without_condition),),
        mix=_LOST_RESPONSES,
    ),
    Mutant(
        "what an endpoint missed is searched for only once",
        "enabling sends what was missed",
        (
            (RequestBuilder, "is_endpoint_enabled", lambda _self, _delivery: False),
            (Notifier, "_restart_missed", lambda _self, _deliveries, _now: []),
            (RedeliveryService, "continue_missed_search", lambda _self, _tenant, _endpoint_id: None),
        ),
        scenario="endpoint",
    ),
)
