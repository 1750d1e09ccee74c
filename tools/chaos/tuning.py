"""Short patience: what takes minutes on AWS takes seconds here, in the same proportions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.local.stack import Stack

PARAMETERS: Mapping[str, str] = {
    "QueuedTimeoutSeconds": "45",
    "UnknownOutcomeTimeoutSeconds": "3",
    "ResubmitAfterSeconds": "30",
    "WebhookTimeoutSeconds": "15",
    "HarvestTimeoutSeconds": "20",
    "SweepDurationSeconds": "0",
    "DeliverySchedule": "0,1,2,4,8,15,15,15,15,15",
}
"""Template parameters. A create of unknown outcome must be sent again only long after Replicate lists it."""

VARIABLES: Mapping[str, str] = {
    "REPLICATE_READ_TIMEOUT_SECONDS": "4",
    # Some creates have to wait for their turn.
    "CREATES_PER_MINUTE": "150",
    "CREATES_BURST": "8",
    "BREAKER_OPEN_SECONDS": "6",
    "BREAKER_PROBE_LEASE_SECONDS": "20",
    "DISPATCH_LEASE_SECONDS": "34",
    "HARVEST_RESERVED_SECONDS": "10",
    "HARVEST_FETCH_TIMEOUT_SECONDS": "10",
    "DELIVERY_TOTAL_TIMEOUT_SECONDS": "5",
    "DELIVERY_LEASE_SECONDS": "34",
    "DELIVERY_REQUEUE_AFTER_SECONDS": "30",
}


@dataclass(frozen=True)
class _Consumer:
    """A function behind a queue: how many of it at once, and how many messages each takes.

    The emulator hands out one batch of each queue in turn; with batches of one, handing out takes longest.
    """

    function: str
    queue: str
    at_once: int
    batch: int


_CONSUMERS = (
    _Consumer("dispatch", "DispatchQueueUrl", at_once=4, batch=3),
    _Consumer("track", "TrackQueueUrl", at_once=2, batch=10),
    _Consumer("harvest", "HarvestQueueUrl", at_once=3, batch=2),
    _Consumer("deliver", "NotifyQueueUrl", at_once=2, batch=5),
)
_TIMEOUT_SECONDS = 30
"""Of every function: a crash costs as much, and a loaded machine needs as much for a cold start."""
_VISIBILITY_SECONDS = 32
_WEBHOOKS_AT_ONCE = 4
SWEEPS_AT_ONCE = 3
"""One on AWS. Passes that keep dying need company to keep up, and must not get in each other's way."""


def tune(stack: Stack) -> None:
    """Timeouts, visibility and settings that are no template parameters, set by API after the deployment."""
    lambdas, names = stack.get_client("lambda"), stack.function_names
    for name in names.values():
        _configure(lambdas, name)
    for function, at_once in (("webhook", _WEBHOOKS_AT_ONCE), ("sweep", SWEEPS_AT_ONCE)):
        lambdas.put_function_concurrency(FunctionName=names[function], ReservedConcurrentExecutions=at_once)
    for consumer in _CONSUMERS:
        stack.get_client("sqs").set_queue_attributes(
            QueueUrl=stack.outputs[consumer.queue], Attributes={"VisibilityTimeout": str(_VISIBILITY_SECONDS)}
        )
        name = names[consumer.function]
        for mapping in lambdas.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]:
            lambdas.update_event_source_mapping(
                UUID=mapping["UUID"],
                BatchSize=consumer.batch,
                ScalingConfig={"MaximumConcurrency": consumer.at_once},
            )


def _configure(lambdas: Any, name: str) -> None:
    current = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    lambdas.update_function_configuration(
        FunctionName=name, Timeout=_TIMEOUT_SECONDS, Environment={"Variables": {**current, **VARIABLES}}
    )
