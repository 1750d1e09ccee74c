"""Background programs of a stack: started once, found again by pid file, ended with all their children."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tools.local.environment import MARK
from tools.local.home import ROOT, Home

GRACE_SECONDS = 8.0


class _Detached(subprocess.Popen[bytes]):
    """A program that outlives its handle, which the standard handle would warn about."""

    def __del__(self) -> None:
        """Nothing to tidy: `Daemon.stop` ends and reaps the program."""


@dataclass(frozen=True)
class Daemon:
    """One named background program of a stack, leader of a process group of its own."""

    home: Home
    name: str

    @property
    def pid_file(self) -> Path:
        return self.home.directory / f"{self.name}.pid.json"

    def start(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        with self.home.log(self.name).open("ab") as log:
            process = _Detached(
                [str(part) for part in command],
                env={**environment, MARK: str(self.home.directory)},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        created = psutil.Process(process.pid).create_time()
        self.pid_file.write_text(json.dumps({"pid": process.pid, "created": created}), encoding="utf-8")

    @property
    def process(self) -> psutil.Process | None:
        """The running program; None if it ended, or if its number now belongs to another program."""
        try:
            record = json.loads(self.pid_file.read_text(encoding="utf-8"))
            process = psutil.Process(record["pid"])
            if abs(process.create_time() - record["created"]) >= 1.0:
                return None
            if process.status() == psutil.STATUS_ZOMBIE:
                process.wait(timeout=GRACE_SECONDS)  # Ended, and ours to reap if we started it.
                return None
            return process
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess, psutil.TimeoutExpired):
            return None

    @property
    def generation(self) -> str:
        """Changes with every start: what an emulator held in memory is gone with the process."""
        process = self.process
        return f"{process.pid}@{process.create_time():.2f}" if process else "down"

    @property
    def members(self) -> list[psutil.Process]:
        """The program and what else is of its group; empty if it does not run."""
        process = self.process
        return [process, *_group(process.pid)] if process else []

    def stop(self) -> None:
        end(self.members)
        self.pid_file.unlink(missing_ok=True)

    def log_tail(self, lines: int = 15) -> str:
        log = self.home.log(self.name)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def leftovers(home: Home) -> list[psutil.Process]:
    """Every other process that carries the stack's mark, however it came to outlive its parent."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(home.directory):
                found.append(process)
    return found


def end(processes: Sequence[psutil.Process], *, grace: float = GRACE_SECONDS) -> None:
    """Ask to stop, then kill; children first come along since they are in the list."""
    _signal(processes, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=grace)
    _signal(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)


def _group(leader: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != leader and os.getpgid(process.pid) == leader:
                members.append(process)
    return members


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
