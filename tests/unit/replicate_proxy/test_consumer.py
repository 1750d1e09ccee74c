"""Messages that fail: which errors are counted, and which are raised."""

from __future__ import annotations

import pytest

from replicate_proxy.consumer import log_message_outcome
from replicate_proxy.errors import ConfigurationError, NotFoundError, PermanentError, RetryableError
from replicate_proxy.observability import Metric
from tests.support.metrics import MetricsReader


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (PermanentError("malformed"), {("permanent",): 1}),
        (ConfigurationError("no permission"), {("configuration",): 1}),
        (KeyError("bug"), {("unexpected",): 1}),
        (RetryableError("busy"), {}),
    ],
)
def test_error_is_raised_and_counted_unless_it_is_temporary(
    emitted: MetricsReader, error: Exception, counted: dict[tuple[str], int]
) -> None:
    with pytest.raises(type(error)), log_message_outcome():
        raise error

    assert emitted.sum_by(Metric.MESSAGE_FAILED, "reason") == counted


def test_message_of_unknown_job_is_dropped(emitted: MetricsReader) -> None:
    @log_message_outcome()
    def handle_message() -> None:
        raise NotFoundError("no such job")

    handle_message()

    assert emitted.sum(Metric.MESSAGE_FAILED) == 0
