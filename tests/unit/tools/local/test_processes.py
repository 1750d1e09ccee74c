"""Daemons and their environment. The tests run real processes, since what they are about is ending them."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from tests.support.loopback import send_response, serve_http
from tools.local import processes
from tools.local.emulator import get_client
from tools.local.paths import StackFolder
from tools.local.processes import Daemon, clean_environment, find_stack_processes, isolate_process
from tools.local.waiting import wait_for

PROXY = "http://127.0.0.1:9"
NO_AWS_FILES = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
SLEEP = "import time; time.sleep(60)"
RUN_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{SLEEP}'])"
START_CHILD_IN_ANOTHER_SESSION = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}'], start_new_session=True)"
)


@pytest.fixture
def daemon(stack_folder: StackFolder) -> Iterator[Daemon]:
    yield Daemon(stack_folder, "sleeper")
    processes.terminate(find_stack_processes(stack_folder))


def _start(daemon: Daemon, code: str) -> None:
    daemon.start([sys.executable, "-c", code], {})


def test_clean_environment_has_no_aws_settings_tokens_and_python_paths() -> None:
    environment = {
        "PATH": "/bin",
        "AWS_PROFILE": "production",
        "AWS_SECRET_ACCESS_KEY": "real",
        "AWS_ENDPOINT_URL": "https://elsewhere",
        "AWS_CA_BUNDLE": "/etc/ca.pem",
        "REPLICATE_API_TOKEN": "r8_real",
        "PYTHONPATH": "/somewhere",
    }

    assert clean_environment(environment) == {"PATH": "/bin", "AWS_CA_BUNDLE": "/etc/ca.pem", **NO_AWS_FILES}


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ({"HTTP_PROXY": PROXY}, "127.0.0.1,localhost"),
        ({"https_proxy": PROXY, "NO_PROXY": ".example.com"}, ".example.com,127.0.0.1,localhost"),
        ({"ALL_PROXY": PROXY, "no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1,localhost"),
        ({"HTTP_PROXY": PROXY, "no_proxy": "localhost,127.0.0.1"}, "localhost,127.0.0.1"),
    ],
)
def test_clean_environment_sends_no_request_to_loopback_to_a_proxy(
    configured: dict[str, str], expected: str
) -> None:
    environment = clean_environment(configured)

    assert environment == {**configured, "no_proxy": expected, "NO_PROXY": expected, **NO_AWS_FILES}


@pytest.mark.parametrize("configured", [{}, {"NO_PROXY": "a"}, {"HTTP_PROXY": PROXY, "NO_PROXY": "*"}])
def test_clean_environment_keeps_the_settings_of_a_machine_that_sends_nothing_to_a_proxy(
    configured: dict[str, str],
) -> None:
    assert clean_environment(configured) == {**configured, **NO_AWS_FILES}


def test_isolated_process_reaches_a_server_of_the_stack_whatever_the_developer_has_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nignore_configured_endpoint_urls = true\nsso_session = gone\n", "utf-8")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "gone")

    isolate_process()

    with serve_http(lambda handler: send_response(handler, b"{}")) as server:
        assert requests.get(server.url("/"), timeout=10).ok
        get_client("sqs", server.url("")).list_queues()
    assert len(server.requests) == 2


def test_started_daemon_is_found_by_its_name_and_stopped(daemon: Daemon) -> None:
    _start(daemon, SLEEP)
    process = Daemon(daemon.folder, "sleeper").process
    assert process is not None
    assert process.is_running()

    daemon.stop()

    assert daemon.process is None
    assert not psutil.pid_exists(process.pid)


def test_stop_ends_children_of_the_daemon(daemon: Daemon) -> None:
    _start(daemon, RUN_CHILD)
    wait_for(
        lambda: len(find_stack_processes(daemon.folder)) == 2 or None,
        timeout_seconds=10,
        description="the child",
    )

    daemon.stop()

    assert find_stack_processes(daemon.folder) == []


def test_child_is_found_when_its_parent_has_ended(daemon: Daemon) -> None:
    _start(daemon, START_CHILD_IN_ANOTHER_SESSION)
    wait_for(lambda: daemon.process is None or None, timeout_seconds=10, description="the parent's end")
    daemon.stop()
    remaining = find_stack_processes(daemon.folder)
    assert len(remaining) == 1
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]

    processes.terminate(remaining)

    assert find_stack_processes(daemon.folder) == []


def test_stop_ends_no_other_process_with_the_pid_of_a_stale_file(daemon: Daemon) -> None:
    this_process = psutil.Process()
    daemon.pid_file.write_text(
        json.dumps({"pid": this_process.pid, "created": this_process.create_time() - 3600}), encoding="utf-8"
    )

    assert daemon.process is None
    daemon.stop()
    assert this_process.is_running()


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_daemon_is_down_when_pid_file_is_unreadable(daemon: Daemon, text: str) -> None:
    daemon.pid_file.write_text(text, encoding="utf-8")

    assert daemon.process is None
    assert daemon.generation == "down"


def test_generation_changes_with_every_start(daemon: Daemon) -> None:
    _start(daemon, SLEEP)
    first = daemon.generation
    daemon.stop()
    _start(daemon, SLEEP)

    assert daemon.generation != first
