"""What goes on beside the jobs goes on whatever AWS says."""

import threading

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from replicate_proxy.errors import PermanentError, RetryableError
from tools.chaos.pressure import repeated


@pytest.mark.parametrize(
    "trouble",
    [
        PermanentError("read job: ResourceNotFoundException"),
        RetryableError("read job: ThrottlingException"),
        ClientError({"Error": {"Code": "ServiceException"}}, "Invoke"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    ],
)
def test_an_aws_that_is_away_or_confused_ends_nothing(trouble: Exception) -> None:
    again = threading.Event()
    calls: list[int] = []

    def action() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise trouble
        again.set()

    with repeated(action, pause=0.01):
        assert again.wait(10)
