"""Typed access to environment variables."""

from __future__ import annotations

import json
from typing import Any

import pytest

from replicate_proxy.config import (
    Environment,
    LocalSettings,
    Setting,
    parse_boolean,
    parse_integer,
    parse_integers,
    parse_list,
    parse_number,
    parse_numbers,
    parse_text,
)
from replicate_proxy.errors import ConfigurationError
from replicate_proxy.settings import RESUBMIT_AFTER_SECONDS

LOCAL_ENDPOINT = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (parse_text, "jobs", "jobs"),
        (parse_number, "1.5", 1.5),
        (parse_integer, "7", 7),
        (parse_boolean, "TRUE", True),
        (parse_boolean, " off ", False),
        (parse_list, " a, ,b", ("a", "b")),
        (parse_numbers, "0,2.5", (0.0, 2.5)),
        (parse_integers, "443,8443", (443, 8443)),
    ],
)
def test_environment_parses_value(parse: Any, text: str, value: Any) -> None:
    setting: Setting[Any] = Setting("NAME", parse, None, (), "")
    assert Environment({"NAME": text})[setting] == value


@pytest.mark.parametrize("variables", [{}, {"NAME": ""}])
def test_environment_returns_default_when_variable_is_unset_or_empty(variables: dict[str, str]) -> None:
    assert Environment(variables)[Setting("NAME", parse_integer, 5, (), "")] == 5


@pytest.mark.parametrize("variables", [{}, {"NAME": ""}])
def test_environment_raises_when_required_variable_is_missing(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="NAME is not set"):
        Environment(variables)[Setting("NAME", parse_text, "", (), "", required=True)]


@pytest.mark.parametrize(
    ("parse", "text"), [(parse_number, "ten"), (parse_boolean, "maybe"), (parse_numbers, "0,soon")]
)
def test_environment_names_variable_that_cannot_be_parsed(parse: Any, text: str) -> None:
    setting: Setting[Any] = Setting("NAME", parse, None, (), "")
    with pytest.raises(ConfigurationError, match="NAME"):
        Environment({"NAME": text})[setting]


@pytest.mark.parametrize(
    ("endpoint", "value"),
    [("http://127.0.0.1:4566", 1), ("", 60), ("https://sqs.eu-central-1.amazonaws.com", 60)],
)
def test_local_only_setting_has_its_default_on_aws(endpoint: str, value: int) -> None:
    setting = Setting("NAME", parse_integer, 60, (), "", local_only=True)
    assert Environment({"NAME": "1", "AWS_ENDPOINT_URL": endpoint})[setting] == value


def test_local_settings_are_read_on_local_stack() -> None:
    text = json.dumps({"allow_loopback": True, "faults_file": "/faults.json"})
    settings = Environment({"LOCAL_SETTINGS": text, **LOCAL_ENDPOINT}).local_settings()
    assert settings == LocalSettings(allow_loopback=True, faults_file="/faults.json")


def test_local_settings_are_off_on_aws() -> None:
    assert Environment({"LOCAL_SETTINGS": '{"allow_loopback": true}'}).local_settings() == LocalSettings()


def test_local_settings_raise_when_not_an_object() -> None:
    with pytest.raises(ConfigurationError, match="LOCAL_SETTINGS"):
        Environment({"LOCAL_SETTINGS": "[]", **LOCAL_ENDPOINT}).local_settings()


@pytest.mark.parametrize(
    ("endpoint", "is_allowed"), [("", False), ("https://sqs.test", False), ("http://127.0.0.1:4566", True)]
)
def test_value_that_is_only_safe_on_the_local_stack_is_refused_on_aws(
    endpoint: str, *, is_allowed: bool
) -> None:
    env = Environment({"RESUBMIT_AFTER_SECONDS": "10", "AWS_ENDPOINT_URL": endpoint})

    if is_allowed:
        assert env[RESUBMIT_AFTER_SECONDS] == 10
    else:
        with pytest.raises(ConfigurationError, match="RESUBMIT_AFTER_SECONDS: 10 is less than 180"):
            env[RESUBMIT_AFTER_SECONDS]
    assert Environment({"RESUBMIT_AFTER_SECONDS": "180"})[RESUBMIT_AFTER_SECONDS] == 180
