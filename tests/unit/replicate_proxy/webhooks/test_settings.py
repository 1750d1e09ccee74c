"""The settings of webhook delivery."""

from __future__ import annotations

import pytest

from replicate_proxy.config import Environment
from replicate_proxy.errors import ConfigurationError
from replicate_proxy.webhooks.settings import DeliverySettings


def test_from_env_reads_settings_and_keeps_defaults() -> None:
    local_stack = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "DELIVERY_TOTAL_TIMEOUT_SECONDS": "9.5"}
    settings = DeliverySettings.from_env(Environment({"DELIVERY_SCHEDULE": "0, 1,2.5", **local_stack}))
    assert settings.schedule_seconds == (0.0, 1.0, 2.5)
    assert settings.total_timeout_seconds == 9.5
    assert DeliverySettings.from_env(Environment({})) == DeliverySettings()


@pytest.mark.parametrize(("name", "value"), [("DELIVERY_SCHEDULE", "0,soon"), ("DELIVERY_SCHEDULE", "0,-1")])
def test_from_env_names_the_variable_when_value_is_invalid(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        DeliverySettings.from_env(Environment({name: value}))
