"""Messages of the notify queue, and the receivers that their deliveries belong to."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.errors import PermanentError
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.model import PREDICTION_TARGET, build_receiver_id


@given(st.text(), st.text(), st.integers(0, 10**9), st.text())
def test_command_survives_json(tenant: str, job_id: str, sequence: int, target: str) -> None:
    command = DeliverCommand(
        tenant=tenant, job_id=job_id, sequence=sequence, target=target, receiver_id="ep_1"
    )
    assert DeliverCommand.from_json(command.to_json()) == command


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"tenant":"a","job_id":"b","sequence":"x","target":"c"}']
)
def test_from_json_raises_permanent_error_for_other_texts(text: str) -> None:
    with pytest.raises(PermanentError):
        DeliverCommand.from_json(text)


def test_receiver_is_the_endpoint_or_the_host_of_the_webhook() -> None:
    assert build_receiver_id("ep_1", "https://a.example/x") == "ep_1"
    host_a = build_receiver_id(PREDICTION_TARGET, "https://A.example/x")
    assert host_a == build_receiver_id(PREDICTION_TARGET, "https://a.example/y")
    assert host_a != build_receiver_id(PREDICTION_TARGET, "https://b.example/")


@pytest.mark.parametrize("host", ["a" * 2_000, "\u00e4" * 2_000, "a.example:443", "\udc00", ""])
def test_receiver_id_of_any_host_fits_into_a_key(host: str) -> None:
    receiver_id = build_receiver_id(PREDICTION_TARGET, f"https://{host}/x")
    assert re.fullmatch(r"host:[0-9a-f]{32}", receiver_id)
