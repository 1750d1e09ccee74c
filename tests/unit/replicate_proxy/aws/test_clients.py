"""Clients of exactly the services that the project uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast, get_args, get_overloads

import botocore.session
import pytest
from botocore.exceptions import UnknownServiceError

from replicate_proxy.aws import clients
from replicate_proxy.aws.clients import get_client
from tests.support.handlers import clear_clients

if TYPE_CHECKING:
    from collections.abc import Iterator

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
