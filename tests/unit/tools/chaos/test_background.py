"""The background load of a chaos run."""

import threading
from unittest import mock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from replicate_proxy.errors import PermanentError, RetryableError
from tools.chaos.background import invoke_sweep, run_repeatedly


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


@pytest.mark.parametrize(("outcome", "ends"), [({"FunctionError": "Unhandled"}, True), ({}, False)])
def test_lease_of_a_crashed_sweep_ends(outcome: dict[str, str], ends: bool) -> None:
    client = mock.Mock()
    client.invoke.return_value = outcome
    stack = mock.Mock(function_names={"sweep": "the-sweep"}, outputs={"ControlTableName": "control"})
    stack.get_client.return_value = client

    invoke_sweep(stack)

    deletion = mock.call(TableName="control", Key={"pk": {"S": "LEASE#sweep"}})
    assert client.delete_item.call_args_list == ([deletion] if ends else [])
