"""Real programs, since ending them is the point."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tools.local import paths, processes, waiting
from tools.local.paths import StackFolder
from tools.local.processes import Daemon

SLEEP = "import time; time.sleep(60)"
PARENT_OF_A_RUNAWAY = (
    f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}'], start_new_session=True)"
)


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setattr(paths, "LOCAL_FOLDER", tmp_path)
    made = StackFolder("unit")
    made.create()
    yield Daemon(made, "sleeper")
    processes.terminate(processes.find_stack_processes(made))


def _start(daemon: Daemon, code: str) -> None:
    daemon.start([sys.executable, "-c", code], {})


def test_a_started_program_is_found_again_and_ended(daemon: Daemon) -> None:
    _start(daemon, SLEEP)
    found = Daemon(daemon.folder, "sleeper").process
    assert found is not None
    assert found.is_running()

    daemon.stop()

    assert daemon.process is None
    assert not psutil.pid_exists(found.pid)


def test_children_end_with_their_parent(daemon: Daemon) -> None:
    _start(daemon, f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{SLEEP}'])")
    waiting.wait_for(
        lambda: len(processes.find_stack_processes(daemon.folder)) == 2 or None,
        timeout_seconds=10,
        description="child",
    )

    daemon.stop()

    assert processes.find_stack_processes(daemon.folder) == []


def test_a_child_that_outlived_its_parent_is_found_by_its_mark(daemon: Daemon) -> None:
    _start(daemon, PARENT_OF_A_RUNAWAY)
    waiting.wait_for(
        lambda: daemon.process is None or None, timeout_seconds=10, description="end of the parent"
    )
    daemon.stop()
    left = processes.find_stack_processes(daemon.folder)
    assert len(left) == 1
    assert not [child for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE]

    processes.terminate(left)

    assert processes.find_stack_processes(daemon.folder) == []


def test_a_stale_pid_file_touches_nobody(daemon: Daemon) -> None:
    here = psutil.Process()
    daemon.pid_file.write_text(
        json.dumps({"pid": here.pid, "created": here.create_time() - 3600}), encoding="utf-8"
    )

    assert daemon.process is None
    daemon.stop()
    assert here.is_running()


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_a_broken_pid_file_means_not_running(daemon: Daemon, text: str) -> None:
    daemon.pid_file.write_text(text, encoding="utf-8")

    assert daemon.process is None
    assert daemon.generation == "down"


def test_every_start_is_another_generation(daemon: Daemon) -> None:
    _start(daemon, SLEEP)
    first = daemon.generation
    daemon.stop()
    _start(daemon, SLEEP)

    assert daemon.generation != first
