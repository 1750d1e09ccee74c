"""Daemons and their environment. The tests run real processes, since what they are about is ending them."""

import json
import sys
from collections.abc import Iterator

import psutil
import pytest

from tools.local import processes
from tools.local.paths import StackFolder
from tools.local.processes import Daemon, clean_environment, find_stack_processes
from tools.local.waiting import wait_for

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

    assert clean_environment(environment) == {"PATH": "/bin", "AWS_CA_BUNDLE": "/etc/ca.pem"}


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
