"""The handling of queue messages: their IDs in logs and traces, and what an error means for them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.errors import NotFoundError, PermanentError, ProxyError
from replicate_proxy.observability import Metric, count_failure, logger, tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


_MESSAGE_KEYS = ("message_id", "receive_count")
_JOB_KEYS = ("job_id", "tenant", "correlation_id")


class JobMessage(Protocol):
    """A command or report about one job."""

    @property
    def job_id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def correlation_id(self) -> str: ...


def handle_messages(event: Mapping[str, Any], handle_body: Callable[[str], None]) -> dict[str, Any]:
    """Handle each message of an SQS event, and return those that SQS is to deliver again.

    The response is that of `ReportBatchItemFailures` (AWS Lambda Developer Guide, "Using Lambda with Amazon
    SQS"). Powertools' BatchProcessor does the same, and adds a fifth to a cold start: it loads asyncio
    and the classes of all kinds of events.
    """
    failures = []
    for record in event["Records"]:
        message_id = record["messageId"]
        try:
            with log_message_outcome(message_id, record["attributes"]["ApproximateReceiveCount"]):
                handle_body(record["body"])
        except Exception:  # noqa: BLE001 - logged above, and no reason to fail the other messages
            failures.append({"itemIdentifier": message_id})
    return {"batchItemFailures": failures}


def identify_job(message: JobMessage) -> None:
    """Put the IDs of the message's job into the log lines of its handling, and the job ID into the trace.

    `log_message_outcome` removes them, after the line about the outcome.
    """
    tracer.annotate(job_id=message.job_id)
    logger.append_keys(job_id=message.job_id, tenant=message.tenant, correlation_id=message.correlation_id)


@contextmanager
def log_message_outcome(message_id: str, receive_count: str) -> Iterator[None]:
    """Log why a message is retried or dropped, and count failures that do not pass by themselves.

    Every line of the block has the message's ID, by which the reason of a dead letter is found: it keeps its
    ID in the dead-letter queue, and SQS records no reason.

    A message whose job does not exist is dropped. Every other error is raised: SQS delivers the message again
    and, after `maxReceiveCount` receives, moves it to the dead-letter queue. Lambda counts no error for a
    message that is reported as failed, so the alarm on the functions watches the metric as well.
    """
    logger.append_keys(message_id=message_id, receive_count=receive_count)
    try:
        yield
    except NotFoundError as error:
        logger.warning("message dropped", reason=str(error))
    except PermanentError as error:
        logger.error("message cannot be handled", reason=f"{type(error).__name__}: {error}")
        count_failure(Metric.MESSAGE_FAILED, error)
        raise
    except ProxyError as error:
        logger.warning("message will be retried", reason=f"{type(error).__name__}: {error}")
        count_failure(Metric.MESSAGE_FAILED, error)
        raise
    except Exception as error:
        logger.exception("message failed unexpectedly")
        count_failure(Metric.MESSAGE_FAILED, error)
        raise
    finally:
        logger.remove_keys([*_MESSAGE_KEYS, *_JOB_KEYS])
