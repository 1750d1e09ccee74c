"""Background programs of a stack: started once, found again by pid file, ended with all their children.

Running a program to its end: quiet when it succeeds, its own words when it fails.

The environment of programs that a stack starts: the user's, less what could reach the real AWS.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tools.local.errors import LocalError
from tools.local.paths import ROOT, StackFolder

STOP_TIMEOUT_SECONDS = 8.0


class _Detached(subprocess.Popen[bytes]):
    """A program that outlives its handle, which the standard handle would warn about."""

    def __del__(self) -> None:
        """Nothing to tidy: `Daemon.stop` ends and reaps the program."""


@dataclass(frozen=True)
class Daemon:
    """One named background program of a stack, leader of a process group of its own."""

    folder: StackFolder
    name: str

    @property
    def pid_file(self) -> Path:
        return self.folder.path / f"{self.name}.pid.json"

    def start(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        with self.folder.get_log_file(self.name).open("ab") as log:
            process = _Detached(
                [str(part) for part in command],
                env={**environment, STACK_VARIABLE: str(self.folder.path)},
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
                process.wait(timeout=STOP_TIMEOUT_SECONDS)  # Ended, and ours to reap if we started it.
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
    def group(self) -> list[psutil.Process]:
        """The program and what else is of its group; empty if it does not run."""
        process = self.process
        return [process, *_group(process.pid)] if process else []

    def stop(self) -> None:
        terminate(self.group)
        self.pid_file.unlink(missing_ok=True)

    def read_log_tail(self, lines: int = 15) -> str:
        log = self.folder.get_log_file(self.name)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def find_stack_processes(folder: StackFolder) -> list[psutil.Process]:
    """Every other process that carries the stack's mark, however it came to outlive its parent."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(STACK_VARIABLE) == str(folder.path):
                found.append(process)
    return found


def terminate(processes: Sequence[psutil.Process], *, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
    """Ask to stop, then kill; children first come along since they are in the list."""
    _signal(processes, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=timeout_seconds)
    _signal(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=STOP_TIMEOUT_SECONDS)


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


TAIL_LINES = 40


def run_command(command: Sequence[str | Path], *, environment: Mapping[str, str], description: str) -> str:
    """Its output; raises `LocalError` with the last lines of it when it exits with anything but 0."""
    result = subprocess.run(
        [str(part) for part in command],
        env=dict(environment),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-TAIL_LINES:])
        raise LocalError(f"{description} failed with exit code {result.returncode}:\n{tail}")
    return result.stdout


STACK_VARIABLE = "REPLICATE_PROXY_LOCAL_STACK"
"""Carried by every process of a stack and by their children, so that `down` finds them all."""

_DROPPED_PREFIXES = ("AWS_", "SAM_", "REPLICATE_", "POWERTOOLS_")
_DROPPED = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "BOTO_CONFIG"}
_KEPT = {"AWS_CA_BUNDLE"}  # Trust store of the machine, not an account.


def clean_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The given environment (default: this process's) without AWS settings, tokens and Python paths."""
    base = os.environ if base is None else base
    return {
        key: value
        for key, value in base.items()
        if key in _KEPT or (key not in _DROPPED and not key.startswith(_DROPPED_PREFIXES))
    }
