import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tools.local import lifecycle, processes
from tools.local.configuration import Upstream
from tools.local.errors import LocalError
from tools.local.paths import ROOT, StackFolder
from tools.local.processes import clean_environment, find_stack_processes
from tools.local.screen import Screen
from tools.local.waiting import wait_for
from tools.simulator.settings import DEFAULT_TOKEN

START_STACK_AND_SLEEP = """
import sys, time
from tools.local.lifecycle import stop_with_this_process
from tools.local.paths import StackFolder
from tools.local.processes import Daemon

folder = StackFolder(sys.argv[1])
stop_with_this_process(folder)
Daemon(folder, "server").start([sys.executable, "-c", "import time; time.sleep(60)"], {})
time.sleep(60)
"""
STREAM_MAPPING = {
    "UUID": "u1",
    "EventSourceArn": "arn:aws:dynamodb:us-east-1:000000000000:table/jobs/stream/1",
    "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:notify",
    "BatchSize": 25,
    "FilterCriteria": {"Filters": []},
    "DestinationConfig": None,
    "State": "Enabled",
    "LastProcessingResult": "OK",
}
QUEUE_MAPPING = {
    **STREAM_MAPPING,
    "UUID": "u2",
    "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:track",
}


@pytest.fixture
def stack_folder() -> Iterator[StackFolder]:
    """A folder beside those of real stacks, where the watchdog finds it, too."""
    folder = StackFolder(f"unit-{secrets.token_hex(4)}")
    yield folder
    processes.terminate(find_stack_processes(folder))
    shutil.rmtree(folder.path, ignore_errors=True)


class FakeLambdaClient:
    def __init__(self) -> None:
        self.mappings: dict[str, dict[str, Any]] = {"u1": STREAM_MAPPING, "u2": QUEUE_MAPPING}

    def list_event_source_mappings(self) -> dict[str, Any]:
        return {"EventSourceMappings": list(self.mappings.values())}

    def delete_event_source_mapping(self, *, UUID: str) -> None:  # noqa: N803 - boto3's names
        del self.mappings[UUID]

    def create_event_source_mapping(self, **settings: Any) -> None:
        self.mappings["new"] = settings


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stack_stops_when_its_process_is_killed(stack_folder: StackFolder, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", START_STACK_AND_SLEEP, stack_folder.name],
        cwd=ROOT,
        env=clean_environment(),
        start_new_session=True,
    )
    wait_for(
        lambda: len(find_stack_processes(stack_folder)) == 2 or None,
        timeout_seconds=20,
        description="watchdog and server",
    )

    process.send_signal(number)
    process.wait(timeout=10)

    wait_for(
        lambda: not find_stack_processes(stack_folder) or None,
        timeout_seconds=20,
        description="the end of the stack",
    )


def test_mapping_of_stream_is_recreated_and_that_of_queue_unchanged() -> None:
    lambda_client = FakeLambdaClient()

    lifecycle._recreate_stream_mappings(lambda_client)

    assert lambda_client.mappings == {
        "u2": QUEUE_MAPPING,
        "new": {
            "FunctionName": STREAM_MAPPING["FunctionArn"],
            "EventSourceArn": STREAM_MAPPING["EventSourceArn"],
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": 25,
            "FilterCriteria": {"Filters": []},
        },
    }


def test_temporary_stack_calls_the_local_replicate_when_the_developer_has_a_token(
    stack_folder: StackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstreams: list[Upstream] = []

    def store_secrets(_: str, upstream: Upstream, __: str) -> None:
        upstreams.append(upstream)
        raise LocalError("the test ends here")

    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_developer")
    monkeypatch.setenv("REPLICATE_API_BASE_URL", "https://api.replicate.com")
    addresses = lifecycle._Addresses(
        "http://127.0.0.1:4566", "http://127.0.0.1:8000", "http://127.0.0.1:8001"
    )
    monkeypatch.setattr(lifecycle, "_start_servers", lambda *_: addresses)
    monkeypatch.setattr(lifecycle, "_store_secrets", store_secrets)

    with (
        pytest.raises(LocalError, match="the test ends here"),
        lifecycle.temporary_stack(stack_folder, Screen(), keep_running=True),
    ):
        pass

    assert upstreams == [Upstream("http://127.0.0.1:8000", webhooks_enabled=True, token=DEFAULT_TOKEN)]


def test_stack_starts_without_the_faults_and_the_time_that_a_killed_process_has_left(
    stack_folder: StackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    left = (stack_folder.faults_file, stack_folder.clock_offset_file)

    def start_stack(*_: Any) -> None:
        found.extend(file.exists() for file in left)

    monkeypatch.setattr(lifecycle, "start_stack", start_stack)
    stack_folder.create()
    for file in left:
        file.write_text("{}", encoding="utf-8")

    with lifecycle.temporary_stack(stack_folder, Screen(), keep_running=True):
        pass

    assert found == [False, False]
