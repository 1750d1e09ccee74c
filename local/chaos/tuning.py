"""Short patience: what takes minutes on AWS takes seconds here, in the same proportions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local.stack import Stack
from local.status import function_names

PARAMETERS: Mapping[str, str] = {
    "QueuedPatienceSeconds": "20",
    "UnknownPatienceSeconds": "3",
    "ResendAfterSeconds": "25",
    "WebhookPatienceSeconds": "8",
    "HarvestPatienceSeconds": "20",
    "SweepLingerSeconds": "0",
    "DeliverySchedule": "0,1,2,4,8,15,15,15,15,15",
}
"""Template parameters. A create of unknown outcome must be sent again only long after Replicate lists it."""

_VARIABLES: Mapping[str, str] = {
    "UPSTREAM_READ_SECONDS": "3",
    # Some creates have to wait for their turn.
    "CREATES_PER_MINUTE": "300",
    "CREATES_BURST": "10",
    "DELIVERY_TOTAL_SECONDS": "5",
    "DELIVERY_LEASE_SECONDS": "12",
    "DELIVERY_HANDOVER_SECONDS": "30",
}


@dataclass(frozen=True)
class _Consumer:
    """A function behind a queue: its timeout, how many at once, and a lease that outlasts the timeout."""

    function: str
    queue: str
    timeout: int
    at_once: int
    lease: Mapping[str, str]


# Visibility is the timeout and a little: a crash costs seconds, and no message is out twice without one.
_CONSUMERS = (
    _Consumer("dispatch", "DispatchQueueUrl", 30, 6, {"DISPATCH_LEASE_SECONDS": "35"}),
    _Consumer("track", "TrackQueueUrl", 20, 3, {}),
    _Consumer("harvest", "HarvestQueueUrl", 45, 4, {}),
    _Consumer("deliver", "NotifyQueueUrl", 20, 4, {}),
)
_VISIBILITY_MARGIN = 3


def tune(stack: Stack) -> None:
    """Timeouts, visibility and settings that are no template parameters, set by API after the deployment."""
    lambdas, names = stack.aws("lambda"), function_names(stack)
    for consumer in _CONSUMERS:
        name = names[consumer.function]
        _configure(lambdas, name, consumer.lease, Timeout=consumer.timeout)
        stack.aws("sqs").set_queue_attributes(
            QueueUrl=stack.outputs[consumer.queue],
            Attributes={"VisibilityTimeout": str(consumer.timeout + _VISIBILITY_MARGIN)},
        )
        for mapping in lambdas.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]:
            lambdas.update_event_source_mapping(
                UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": consumer.at_once}
            )
    for function in ("sweep", "notify", "ingest"):
        _configure(lambdas, names[function], {})


def _configure(lambdas: Any, name: str, variables: Mapping[str, str], **settings: Any) -> None:
    current = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    wanted = {**current, **_VARIABLES, **variables}
    lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": wanted}, **settings)
