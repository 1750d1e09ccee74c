"""Real programs, killed as a user or a CI's timeout kills them."""

import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tools.local import processes, waiting
from tools.local.paths import ROOT, StackFolder

USER = """
import sys, time
from tools.local.paths import StackFolder
from tools.local.processes import Daemon
from tools.local.lifecycle import stop_with_this_process

folder = StackFolder(sys.argv[1])
stop_with_this_process(folder)
Daemon(folder, "server").start([sys.executable, "-c", "import time; time.sleep(60)"], {})
time.sleep(60)
"""


@pytest.fixture
def stack_home() -> Iterator[StackFolder]:
    """In the real folder of stacks, where the updater, a program of its own, looks too."""
    made = StackFolder(f"unit-{secrets.token_hex(4)}")
    yield made
    processes.terminate(processes.find_stack_processes(made))
    shutil.rmtree(made.path, ignore_errors=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stack_ends_with_the_program_that_wanted_it(
    stack_home: StackFolder, number: signal.Signals
) -> None:
    user = subprocess.Popen(
        [sys.executable, "-c", USER, stack_home.name],
        cwd=ROOT,
        env=processes.clean_environment(),
        start_new_session=True,
    )
    waiting.wait_for(
        lambda: len(processes.find_stack_processes(stack_home)) == 2 or None,
        timeout_seconds=20,
        description="updater and server",
    )

    user.send_signal(number)
    user.wait(timeout=10)

    waiting.wait_for(
        lambda: not processes.find_stack_processes(stack_home) or None,
        timeout_seconds=20,
        description="end of the stack",
    )
