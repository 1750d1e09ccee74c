"""The background load of a chaos run."""

import threading

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from replicate_proxy.errors import PermanentError, RetryableError
from tools.chaos.background import run_repeatedly


@pytest.mark.parametrize(
    "error",
    [
        PermanentError("read job: ResourceNotFoundException"),
        RetryableError("read job: ThrottlingException"),
        ClientError({"Error": {"Code": "ServiceException"}}, "Invoke"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    ],
)
def test_repeated_action_continues_after_aws_error(error: Exception) -> None:
    was_repeated = threading.Event()
    calls: list[int] = []

    def action() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise error
        was_repeated.set()

    with run_repeatedly(action, interval_seconds=0.01):
        assert was_repeated.wait(10)
