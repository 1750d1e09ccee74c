"""Clients of exactly the services that the project uses."""

from __future__ import annotations

from typing import Literal, cast, get_args, get_overloads

import pytest
from botocore.exceptions import UnknownServiceError

from replicate_proxy.aws.clients import get_client

_NAMES = [
    name
    for overload in get_overloads(get_client)
    for name in get_args(eval(overload.__annotations__["service"], {"Literal": Literal}))  # noqa: S307 - our own code
]


@pytest.mark.parametrize("name", _NAMES)
def test_declared_service_has_a_client(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    client = get_client(cast("Literal['s3']", name))

    assert client.meta.service_model.service_name == name


def test_other_service_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")

    with pytest.raises(UnknownServiceError):
        get_client(cast("Literal['s3']", "ec2"))
