"""Shorter timeouts: what takes minutes on AWS takes seconds in a run, in the same proportions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.local.stack import Stack

# Template parameters. A create of unknown outcome is resubmitted only long after Replicate would list it.
PARAMETERS: Mapping[str, str] = {
    "QueuedTimeoutSeconds": "45",
    "UnknownOutcomeTimeoutSeconds": "3",
    "ResubmitAfterSeconds": "30",
    "WebhookTimeoutSeconds": "15",
    "HarvestTimeoutSeconds": "20",
    "SweepDurationSeconds": "0",
    "DeliverySchedule": "0,1,2,4,8,15,15,15,15,15",
}

# Settings that are not template parameters.
VARIABLES: Mapping[str, str] = {
    "REPLICATE_READ_TIMEOUT_SECONDS": "4",
    # Low enough that some creates have to wait.
    "CREATES_PER_MINUTE": "90",
    "CREATES_BURST": "5",
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
    """Concurrency and batch size of a function behind a queue.

    The emulator hands out one batch per queue in turn; with a batch size of one, that would take most of the
    time.
    """

    function: str
    queue_output: str
    concurrency: int
    batch_size: int


_CONSUMERS = (
    _Consumer("dispatch", "DispatchQueueUrl", concurrency=4, batch_size=3),
    _Consumer("track", "TrackQueueUrl", concurrency=2, batch_size=10),
    _Consumer("harvest", "HarvestQueueUrl", concurrency=3, batch_size=2),
    _Consumer("deliver", "NotifyQueueUrl", concurrency=2, batch_size=5),
)
# For every function but the sweep. A crash costs as much time, and a cold start on a loaded machine needs it.
_FUNCTION_TIMEOUT_SECONDS = 30
_VISIBILITY_TIMEOUT_SECONDS = 32
_WEBHOOK_CONCURRENCY = 4
# A scheduled sweep that crashes keeps its lease for that long, and no other one runs meanwhile.
_SWEEP_TIMEOUT_SECONDS = 15


def apply_tuning(stack: Stack) -> None:
    """Change what is not a template parameter through the APIs, after the deployment."""
    lambdas, names = stack.get_client("lambda"), stack.function_names
    for function, name in names.items():
        is_sweep = function == "sweep"
        _configure_function(lambdas, name, _SWEEP_TIMEOUT_SECONDS if is_sweep else _FUNCTION_TIMEOUT_SECONDS)
    lambdas.put_function_concurrency(
        FunctionName=names["webhook"], ReservedConcurrentExecutions=_WEBHOOK_CONCURRENCY
    )
    for consumer in _CONSUMERS:
        stack.get_client("sqs").set_queue_attributes(
            QueueUrl=stack.outputs[consumer.queue_output],
            Attributes={"VisibilityTimeout": str(_VISIBILITY_TIMEOUT_SECONDS)},
        )
        name = names[consumer.function]
        for mapping in lambdas.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]:
            lambdas.update_event_source_mapping(
                UUID=mapping["UUID"],
                BatchSize=consumer.batch_size,
                ScalingConfig={"MaximumConcurrency": consumer.concurrency},
            )


def _configure_function(lambdas: Any, name: str, timeout_seconds: int) -> None:
    current = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    lambdas.update_function_configuration(
        FunctionName=name,
        Timeout=timeout_seconds,
        Environment={"Variables": {**current, **VARIABLES}},
    )
