"""The processor time of requests that the runner of handlers records, with the real library."""

from __future__ import annotations

import time
from collections.abc import Iterator

import botocore.client
import pytest
import requests
from requests.adapters import HTTPAdapter

from tools.handlers.runner import CallRecorder
from tools.local.loopback import receive_webhooks


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> CallRecorder:
    for owner, names in (
        (requests.Session, ("prepare_request", "merge_environment_settings", "send")),
        (HTTPAdapter, ("send",)),
        (botocore.client.BaseClient, ("_make_api_call",)),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, getattr(owner, name))  # so that it is restored
    recorder = CallRecorder()
    recorder.install()
    return recorder


@pytest.fixture
def receiver_url() -> Iterator[str]:
    with receive_webhooks(lambda *_: 204) as origin:
        yield f"{origin}/hook"


def test_request_of_adapter_without_session_is_recorded(recorder: CallRecorder, receiver_url: str) -> None:
    request = requests.Request("POST", receiver_url, data=b"{}").prepare()

    assert HTTPAdapter().send(request).status_code == 204

    assert recorder.seconds > 0


def test_calls_within_a_call_are_not_recorded_twice(recorder: CallRecorder, receiver_url: str) -> None:
    started = time.thread_time()
    for _ in range(10):
        requests.post(receiver_url, data=b"{}", timeout=10)
    taken = time.thread_time() - started

    assert 0 < recorder.seconds <= taken
