"""Each alarm fires in the outage that it exists for, total outages included, and not in normal operation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from tests.template.metric_math import AlarmEvaluator, Samples, list_metrics
from tests.template.variants import load_variant
from tools.template.stack import Resource

HOURS = 2
MINUTES = range(HOURS * 60)
OWN = "ReplicateProxy"
QUEUES = ("dispatch", "batch-dispatch", "track", "harvest", "notify")
DEAD_LETTER_QUEUES = (*QUEUES, "notify-stream", "sweep", "bus")
FUNCTIONS = (
    *("ingest", "query", "catalog", "webhook", "authorize", "admin", "endpoints", "files"),
    *("dispatch", "batch", "track", "harvest", "notify", "deliver", "sweep", "usage"),
)


def every(minutes: int, *values: float, start: int = 0) -> Samples:
    """Return these samples in every so many minutes."""
    return {minute: list(values) for minute in MINUTES if minute % minutes == start}


def growing(start: int = 0) -> Samples:
    """Return an age in seconds that has been growing since the start."""
    return {minute: [60.0 * (minute - start)] for minute in MINUTES if minute >= start}


def lambda_metric(name: str, function: str) -> str:
    return f"AWS/Lambda/{name}/replicate-proxy-{function}"


def sqs_metric(name: str, queue: str) -> str:
    return f"AWS/SQS/{name}/replicate-proxy-{queue}"


NORMAL: dict[str, Samples] = {
    **{lambda_metric("Invocations", name): every(1, *[1.0] * 20) for name in FUNCTIONS},
    **{lambda_metric("Errors", name): every(1, 0) for name in FUNCTIONS},
    "AWS/Lambda/Throttles": every(1, 0),
    lambda_metric("Duration", "query"): every(1, 40, 60, 900),
    lambda_metric("IteratorAge", "notify"): every(1, 300),
    **{
        sqs_metric("ApproximateNumberOfMessagesVisible", f"{name}-dead-letters"): every(1, 0)
        for name in DEAD_LETTER_QUEUES
    },
    **{sqs_metric("ApproximateAgeOfOldestMessage", name): every(1, 2) for name in QUEUES},
    sqs_metric("ApproximateNumberOfMessagesVisible", "batch-dispatch"): every(1, 40_000),
    sqs_metric("NumberOfMessagesDeleted", "batch-dispatch"): every(1, 500),
    "AWS/ApiGateway/5XXError": {**every(1, 0), 17: [0, 1]},
    f"{OWN}/JobAccepted": every(1, *[1.0] * 20),
    f"{OWN}/JobSucceeded": every(1, *[1.0] * 19, 0),
    f"{OWN}/JobFailed": every(1, *[0.0] * 19, 1),
    f"{OWN}/JobSeconds": every(1, *[4.0] * 20),
    f"{OWN}/QueueSeconds": every(1, 0.1, 0.2, 3),
    f"{OWN}/QueueAgeSeconds": every(10, 20),
    f"{OWN}/HarvestSeconds": every(1, 0.4, 1.2),
    f"{OWN}/HarvestAgeSeconds": every(10, 5),
    f"{OWN}/FileStored": every(1, 3, 0),
    f"{OWN}/FileNotStored": every(1, 0, 0),
    f"{OWN}/FileNotAllowed": every(1, 0, 1),
    f"{OWN}/DispatchSubmitted": every(1, *[1.0] * 20),
    f"{OWN}/WebhookAccepted": every(1, *[1.0] * 40),
    "AWS/S3/BucketSizeBytes/StandardStorage": {0: [50e9]},
}
"""20 jobs a minute. An absent metric has no samples, as all that count exceptional events."""

NOTHING: Samples = {}


@dataclass(frozen=True)
class Outage:
    """What changes in the samples, from normal operation, and within how many minutes the alarm fires."""

    description: str
    changes: Mapping[str, Samples] = field(default_factory=dict)
    minutes: int = 10
    is_idle: bool = False
    """Whether there are no samples but the changes."""

    @property
    def samples(self) -> Mapping[str, Samples]:
        return dict(self.changes) if self.is_idle else {**NORMAL, **self.changes}


def only(description: str, changes: Mapping[str, Samples], minutes: int) -> Outage:
    """Return an outage of a service that does nothing else."""
    return Outage(description, changes, minutes, is_idle=True)


def function_errors(*names: str) -> dict[str, Samples]:
    return {lambda_metric("Errors", name): every(1, *[1.0] * 20) for name in names}


NO_JOB_ENDS = {f"{OWN}/JobSucceeded": NOTHING, f"{OWN}/JobFailed": NOTHING, f"{OWN}/HarvestSeconds": NOTHING}
NO_JOB_IS_SENT = {**NO_JOB_ENDS, f"{OWN}/QueueSeconds": NOTHING, f"{OWN}/DispatchSubmitted": NOTHING}

OUTAGES: dict[str, list[Outage]] = {
    **{
        f"{prefix}DeadLetterAlarm": [
            Outage(
                "one message, and nothing else happens",
                {sqs_metric("ApproximateNumberOfMessagesVisible", f"{queue}-dead-letters"): every(1, 1)},
                minutes=2,
                is_idle=True,
            )
        ]
        for prefix, queue in (
            ("Dispatch", "dispatch"),
            ("BatchDispatch", "batch-dispatch"),
            ("Track", "track"),
            ("Harvest", "harvest"),
            ("Notify", "notify"),
            ("NotifyStream", "notify-stream"),
            ("Sweep", "sweep"),
            ("Bus", "bus"),
        )
    },
    **{
        f"{queue.title()}QueueAgeAlarm": [
            Outage(
                "the consumer is never invoked, and nothing else happens",
                {sqs_metric("ApproximateAgeOfOldestMessage", queue): growing()},
                minutes=45,
                is_idle=True,
            )
        ]
        for queue in QUEUES
        if queue != "batch-dispatch"
    },
    "BatchDispatchStoppedAlarm": [
        Outage(
            "the consumer is never invoked, and nothing else happens",
            {sqs_metric("ApproximateNumberOfMessagesVisible", "batch-dispatch"): every(1, 500)},
            minutes=16,
            is_idle=True,
        )
    ],
    "SweepStoppedAlarm": [
        Outage(
            "the rule is disabled",
            {lambda_metric("Invocations", "sweep"): NOTHING, lambda_metric("Errors", "sweep"): NOTHING},
            minutes=6,
        ),
        Outage(
            "every run crashes or runs out of time",
            {
                lambda_metric("Invocations", "sweep"): every(1, 1),
                lambda_metric("Errors", "sweep"): every(1, 1),
            },
            minutes=6,
        ),
        Outage("nothing reports at all", minutes=6, is_idle=True),
    ],
    "WorkerFunctionErrorsAlarm": [
        Outage("a function crashes", function_errors("dispatch"), minutes=5),
        Outage(
            "every message fails, which is no error of the function",
            {f"{OWN}/MessageFailed": every(1, *[1.0] * 20)},
            minutes=5,
        ),
        Outage(
            "every check of the sweep fails, and nothing else runs",
            {f"{OWN}/CheckFailed": every(1, 1)},
            minutes=5,
            is_idle=True,
        ),
    ],
    "BatchOrDeletionFailedAlarm": [
        only("a large batch cannot go on", {f"{OWN}/BatchFailed": every(2, 1)}, 20),
        only("a prediction cannot be deleted", {f"{OWN}/DeletionFailed": every(1, 1)}, 20),
        Outage("an erasure cannot go on", {f"{OWN}/DeletionFailed": every(5, 1)}, 20),
    ],
    "FunctionThrottlesAlarm": [
        only("the account's concurrency is used up", {"AWS/Lambda/Throttles": every(1, *[1.0] * 20)}, 5)
    ],
    "NotifyLagAlarm": [
        Outage("notify is slow", {lambda_metric("IteratorAge", "notify"): every(1, 90_000)}, minutes=5)
    ],
    "NotifyStoppedAlarm": [
        Outage(
            "the event source is disabled",
            {
                lambda_metric("Invocations", "notify"): NOTHING,
                lambda_metric("IteratorAge", "notify"): NOTHING,
            },
        ),
        only("the same, with a job every 20 minutes", {f"{OWN}/JobAccepted": every(20, 1)}, 45),
    ],
    "UsageStoppedAlarm": [
        Outage("the event source is disabled", {lambda_metric("Invocations", "usage"): NOTHING}),
        only("the same, with a job every 20 minutes", {f"{OWN}/JobSeconds": every(20, 4.0)}, 45),
    ],
    "ApiErrorsAlarm": [
        Outage("every request fails", {"AWS/ApiGateway/5XXError": every(1, *[1.0] * 20)}, minutes=5),
        only("the same, with a request every other minute", {"AWS/ApiGateway/5XXError": every(2, 1)}, 5),
    ],
    "ReadLatencyAlarm": [
        Outage("every read runs into the timeout", {lambda_metric("Duration", "query"): every(1, 29_000)}, 15)
    ],
    "WebhooksMissingAlarm": [
        Outage(
            "every webhook is rejected",
            {f"{OWN}/WebhookAccepted": NOTHING, f"{OWN}/WebhookRejected": every(1, *[1.0] * 40)},
            minutes=20,
        ),
        Outage("no webhook arrives", {f"{OWN}/WebhookAccepted": NOTHING}, minutes=20),
    ],
    "AuthFromStaleCacheAlarm": [
        only("the access table does not answer", {f"{OWN}/AuthFromStaleCache": every(1, 1)}, 2)
    ],
    "AuthUnavailableAlarm": [
        only("the access table does not answer", {f"{OWN}/AuthUnavailable": every(1, 1)}, 2)
    ],
    "BreakerOpenAlarm": [
        Outage(
            "Replicate fails; each failed probe opens the breaker again",
            {**NO_JOB_IS_SENT, f"{OWN}/BreakerOpened": every(3, 1)},
            minutes=3,
        )
    ],
    "TokenRejectedAlarm": [
        only("one job waits, and tries again every minute", {f"{OWN}/TokenRejected": every(1, 1)}, 2),
        only("no job waits; the hourly refresh of the secret fails", {f"{OWN}/TokenRejected": {3: [1]}}, 5),
    ],
    "QueueLatencyAlarm": [
        Outage("dispatch is slow", {f"{OWN}/QueueSeconds": every(1, 400)}, minutes=20),
        Outage("no job is sent", {**NO_JOB_IS_SENT, f"{OWN}/QueueAgeSeconds": growing()}, minutes=25),
        Outage(
            "one job waits for a quarter of an hour at a time",
            {f"{OWN}/QueueAgeSeconds": {minute: [60.0 * minute] for minute in MINUTES if minute % 15 == 1}},
            minutes=60,
            is_idle=True,
        ),
    ],
    "HarvestLatencyAlarm": [
        Outage("harvest is slow", {f"{OWN}/HarvestSeconds": every(1, 400)}, minutes=20),
        Outage("no harvest ends", {**NO_JOB_ENDS, f"{OWN}/HarvestAgeSeconds": growing()}, minutes=25),
    ],
    "OutputLostAlarm": [only("one output is lost", {f"{OWN}/OutputLost": {2: [1]}}, 5)],
    "FileNotStoredAlarm": [
        Outage(
            "every file of every job is left at Replicate",
            {
                f"{OWN}/FileNotStored": every(1, 3),
                f"{OWN}/FileStored": NOTHING,
                f"{OWN}/FileNotAllowed": NOTHING,
            },
            5,
        ),
        only("one file of one job is", {f"{OWN}/FileNotStored": {2: [1]}}, 5),
        Outage(
            "Replicate serves files from another host",
            {f"{OWN}/FileNotAllowed": every(1, 3), f"{OWN}/FileStored": NOTHING},
            5,
        ),
    ],
    "DeliveryFailedAlarm": [only("one delivery fails for good", {f"{OWN}/DeliveryFailed": {2: [1]}}, 5)],
    "JobFailuresAlarm": [
        Outage(
            "every job fails, and counts no success",
            {f"{OWN}/JobFailed": every(1, *[1.0] * 20), f"{OWN}/JobSucceeded": NOTHING},
            15,
        ),
        Outage(
            "the same, with values of 0",
            {f"{OWN}/JobFailed": every(1, *[1.0] * 20), f"{OWN}/JobSucceeded": every(1, 0)},
            15,
        ),
        Outage("half of the jobs fail", {f"{OWN}/JobFailed": every(1, *[1.0] * 20)}, 15),
    ],
    "SpendingAlarm": [
        Outage(
            "ten times as many predictions as ever", {f"{OWN}/DispatchSubmitted": every(1, *[1.0] * 200)}, 121
        )
    ],
    "StorageAlarm": [
        Outage(
            "one storage class is full, the others do not exist",
            {"AWS/S3/BucketSizeBytes/StandardStorage": {0: [1e15]}},
            24 * 60 + 1,
        )
    ],
}


@pytest.fixture(scope="module")
def alarms() -> Mapping[str, Resource]:
    return {alarm.id: alarm for alarm in load_variant("everything").of_type("CloudWatch::Alarm")}


def make_evaluator(alarm: Resource) -> AlarmEvaluator:
    # What anomaly detection learns from 1,200 predictions an hour.
    return AlarmEvaluator(alarm, band=2000)


@pytest.mark.parametrize(
    ("name", "outage"),
    [(name, outage) for name, outages in OUTAGES.items() for outage in outages],
    ids=lambda part: part if isinstance(part, str) else part.description,
)
def test_alarm_fires_in_its_outage(name: str, outage: Outage, alarms: Mapping[str, Resource]) -> None:
    evaluator = make_evaluator(alarms[name])

    assert any(evaluator.is_alarm(outage.samples, minute=minute) for minute in range(1, outage.minutes))


@pytest.mark.parametrize("name", OUTAGES)
def test_alarm_does_not_fire_in_normal_operation(name: str, alarms: Mapping[str, Resource]) -> None:
    evaluator = make_evaluator(alarms[name])

    assert not any(evaluator.is_alarm(NORMAL, minute=minute) for minute in range(60, HOURS * 60))


def test_every_alarm_has_an_outage(alarms: Mapping[str, Resource]) -> None:
    assert alarms.keys() == OUTAGES.keys()


@pytest.mark.parametrize("name", OUTAGES)
def test_outage_names_metrics_that_alarm_watches(name: str, alarms: Mapping[str, Resource]) -> None:
    """A misspelled metric would have no samples, as in an outage."""
    watched = set(list_metrics(alarms[name]))

    assert watched & (NORMAL.keys() | {metric for outage in OUTAGES[name] for metric in outage.changes})
    assert all(watched & outage.changes.keys() for outage in OUTAGES[name] if outage.changes)


def test_one_failed_receive_is_no_alarm(alarms: Mapping[str, Resource]) -> None:
    """A message is received again after the visibility timeout of its queue, at the age of that timeout."""
    stack = load_variant("default")
    for queue in QUEUES:
        if queue == "batch-dispatch":
            continue  # has no alarm on the age
        resource = stack.resources[stack.find_by_name("QueueName", f"replicate-proxy-{queue}")]
        minutes = int(resource.properties["VisibilityTimeout"]) // 60
        ages = {minute: [60.0 * minute] for minute in range(minutes + 1)}
        samples = {sqs_metric("ApproximateAgeOfOldestMessage", queue): ages}

        evaluator = make_evaluator(alarms[f"{queue.title()}QueueAgeAlarm"])
        assert not any(evaluator.is_alarm(samples, minute=minute) for minute in range(HOURS * 60))


def test_evaluator_knows_missing_data(alarms: Mapping[str, Resource]) -> None:
    """The evaluator itself: without FILL, the failures alarm is silent where nothing succeeds."""
    alarm = alarms["JobFailuresAlarm"]
    metrics = [dict(query) for query in alarm.properties["Metrics"]]
    metrics[0]["Expression"] = "IF(failed + succeeded >= 10, 100 * failed / (failed + succeeded), 0)"
    without_fill = Resource(
        alarm.id,
        {**alarm.declared, "Properties": {**alarm.properties, "Metrics": metrics}},
        lambda value: value,
    )
    outage = OUTAGES["JobFailuresAlarm"][0].samples

    assert not any(AlarmEvaluator(without_fill).is_alarm(outage, minute=minute) for minute in range(60))
    assert math.isinf(AlarmEvaluator(without_fill).band)
