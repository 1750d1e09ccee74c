"""Real programs, killed as a user or a CI's timeout kills them."""

import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tools.local import environment, processes, waiting
from tools.local.home import ROOT, Home

USER = """
import sys, time
from tools.local.home import Home
from tools.local.processes import Daemon
from tools.local.temporary import end_with_me

home = Home(sys.argv[1])
end_with_me(home)
Daemon(home, "server").start([sys.executable, "-c", "import time; time.sleep(60)"], {})
time.sleep(60)
"""


@pytest.fixture
def stack_home() -> Iterator[Home]:
    """In the real folder of stacks, where the updater, a program of its own, looks too."""
    made = Home(f"unit-{secrets.token_hex(4)}")
    yield made
    processes.end(processes.leftovers(made))
    shutil.rmtree(made.directory, ignore_errors=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stack_ends_with_the_program_that_wanted_it(stack_home: Home, number: signal.Signals) -> None:
    user = subprocess.Popen(
        [sys.executable, "-c", USER, stack_home.name],
        cwd=ROOT,
        env=environment.clean(),
        start_new_session=True,
    )
    waiting.until(
        lambda: len(processes.leftovers(stack_home)) == 2 or None, seconds=20, what="updater and server"
    )

    user.send_signal(number)
    user.wait(timeout=10)

    waiting.until(lambda: not processes.leftovers(stack_home) or None, seconds=20, what="end of the stack")
