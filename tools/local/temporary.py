"""A stack that lasts no longer than the program that wanted it, even where that program is killed.

`python -m tools.local.temporary PID NAME` waits for the program's end and takes the stack down.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping

import psutil

from tools.local import environment
from tools.local.down import down
from tools.local.home import Home
from tools.local.processes import Daemon
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.local.up import up


@contextlib.contextmanager
def temporary(
    home: Home, screen: Screen, overrides: Mapping[str, str] | None = None, *, keep: bool = False
) -> Iterator[Stack]:
    """The running stack, as `up` brings it up; afterwards nothing of it is left, unless it is to be kept."""
    if not keep:
        end_with_me(home)
    try:
        yield up(home, screen, overrides)
    finally:
        if not keep:
            down(home, screen)


def end_with_me(home: Home) -> None:
    """Starts the program that waits for this one's end. `down` ends it as any other part of the stack."""
    home.prepare()
    command = [sys.executable, "-m", "tools.local.temporary", str(os.getpid()), home.name]
    Daemon(home, "updater").start(command, environment.clean())


def main(pid: int, name: str) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()
    down(Home(name), Screen())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
