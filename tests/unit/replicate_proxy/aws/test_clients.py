"""Clients of exactly the services that the project uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast, get_args, get_overloads

import botocore.session
import pytest
from botocore.exceptions import UnknownServiceError

from replicate_proxy.aws import clients
from replicate_proxy.aws.clients import get_client, get_fail_fast_client, get_waiting_client
from tests.support.handlers import clear_clients
from tools.template.stack import load_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAMES = [
    name
    for overload in get_overloads(get_client)
    for name in get_args(eval(overload.__annotations__["service"], {"Literal": Literal}))  # noqa: S307 - our own code
]


@pytest.fixture(autouse=True)
def without_cached_clients() -> Iterator[None]:
    clear_clients()
    yield
    clear_clients()


@pytest.mark.parametrize("name", _NAMES)
def test_declared_service_has_a_client(name: str) -> None:
    client = get_client(cast("Literal['s3']", name))

    assert client.meta.service_model.service_name == name


def test_other_service_has_none() -> None:
    with pytest.raises(UnknownServiceError):
        get_client(cast("Literal['s3']", "ec2"))


@pytest.mark.parametrize("name", ["sso", "sso-oidc", "sts"])
def test_tools_can_obtain_credentials_for_profiles_of_an_operator(name: str) -> None:
    """botocore creates these clients in the same session: for IAM Identity Center, and for roles."""
    client = clients._get_session().create_client(name)

    usual = botocore.session.get_session().create_client(name)
    assert client.meta.endpoint_url == usual.meta.endpoint_url


def calculate_longest_call_seconds(client: Any) -> float:
    """Return how long a call can take that gets no response, with the longest pauses between attempts."""
    config = client.meta.config
    attempts = config.retries["total_max_attempts"]
    pauses = sum(2**attempt for attempt in range(attempts - 1))
    return float(attempts * (config.connect_timeout + config.read_timeout) + pauses)


@pytest.mark.parametrize(
    ("function", "get_clients"),
    [
        # The key and the record of its use: cached keys are accepted.
        ("Authorize", lambda: [get_fail_fast_client(), get_fail_fast_client()]),
        # A cached secret is used.
        ("Webhook", lambda: [get_client("ssm")]),
        # The job, and whether it was written after all: the caller gets a 503.
        ("Ingest", lambda: [get_client("dynamodb"), get_client("dynamodb")]),
        # The sweep enqueues the job, and the next create announces the budget.
        ("Ingest", lambda: [get_client("sqs"), get_client("events")]),
        # The sweep starts the worker of large batches.
        ("Ingest", lambda: [get_client("lambda")]),
        # The dead letter of a stream stays.
        ("Admin", lambda: [get_waiting_client()]),
        # The next read asks for the progress.
        ("Query", lambda: [get_client("sqs")]),
    ],
)
def test_function_has_time_for_calls_without_a_response_whose_failure_it_handles(
    function: str, get_clients: Callable[[], list[Any]]
) -> None:
    timeout = load_stack().resources[f"{function}Function"].properties["Timeout"]
    assert sum(map(calculate_longest_call_seconds, get_clients())) <= int(timeout)
