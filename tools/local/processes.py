"""Processes of local stacks: daemons that outlive the command which starts them, and commands.

All of them get an environment without the developer's AWS settings (`clean_environment`); `isolate_process`
is for the process that works with them. Every process of a stack, and every child that inherits its
environment, has the stack's folder in STACK_VARIABLE, so that `make down` finds all of them.
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

STACK_VARIABLE = "REPLICATE_PROXY_LOCAL_STACK"
STOP_TIMEOUT_SECONDS = 8.0

_MAX_ERROR_LINES = 40
_REMOVED_VARIABLES = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "BOTO_CONFIG"}
_REMOVED_PREFIXES = ("AWS_", "SAM_", "REPLICATE_", "POWERTOOLS_")
_ALLOWED_VARIABLES = {"AWS_CA_BUNDLE"}  # It belongs to the machine, not to an AWS account.
_PROFILE_VARIABLES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")
# The default profile may have AWS_ENDPOINT_URL ignored, so that functions would reach real AWS.
_AWS_FILES = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
_PROXY_VARIABLES = {"http_proxy", "https_proxy", "all_proxy"}
_LOOPBACK_NAMES = ("127.0.0.1", "localhost")


def clean_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment `base` without AWS settings, tokens, Python paths, and proxies for loopback.

    The default is the environment of this process.
    """
    base = os.environ if base is None else base
    kept = {
        name: value
        for name, value in base.items()
        if name in _ALLOWED_VARIABLES
        or (name not in _REMOVED_VARIABLES and not name.startswith(_REMOVED_PREFIXES))
    }
    return kept | _AWS_FILES | _except_loopback_from_proxies(base)


def isolate_process() -> None:
    """Have this process use neither the developer's AWS profiles nor a proxy for the servers of a stack."""
    for name in _PROFILE_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(_AWS_FILES | _except_loopback_from_proxies(os.environ))


def _except_loopback_from_proxies(base: Mapping[str, str]) -> dict[str, str]:
    """Return what has requests to loopback sent directly, if `base` has a proxy: it cannot forward them.

    Without a proxy in the environment, nothing is returned: NO_PROXY alone would replace what macOS has set.
    """
    if _PROXY_VARIABLES.isdisjoint(name.lower() for name in base):
        return {}
    # Clients prefer the name in lower case.
    exceptions = base.get("no_proxy") or base.get("NO_PROXY") or ""
    if exceptions.strip() == "*":
        return {}
    names = ",".join(dict.fromkeys([*filter(None, exceptions.split(",")), *_LOOPBACK_NAMES]))
    return {"no_proxy": names, "NO_PROXY": names}


def run_command(command: Sequence[str | Path], *, environment: Mapping[str, str], description: str) -> str:
    """Run the command in the project's folder and return its output.

    Raises `LocalError` with the last lines of the output if the exit code is not 0.
    """
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
        last_lines = "\n".join(result.stdout.splitlines()[-_MAX_ERROR_LINES:])
        raise LocalError(f"{description} failed with exit code {result.returncode}:\n{last_lines}")
    return result.stdout


@dataclass(frozen=True)
class Daemon:
    """A background process of a stack. A PID file identifies it across commands."""

    folder: StackFolder
    name: str

    @property
    def pid_file(self) -> Path:
        return self.folder.path / f"{self.name}.pid.json"

    def start(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        """Start the process as leader of a new process group; its output goes to the log file."""
        with self.folder.get_log_file(self.name).open("ab") as log:
            process = _DetachedProcess(
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

    def stop(self) -> None:
        terminate(self.process_group)
        self.pid_file.unlink(missing_ok=True)

    @property
    def process(self) -> psutil.Process | None:
        """The running process; None if it ended, even if its PID now belongs to another process."""
        try:
            record = json.loads(self.pid_file.read_text(encoding="utf-8"))
            process = psutil.Process(record["pid"])
            if abs(process.create_time() - record["created"]) >= 1.0:
                return None
            if process.status() == psutil.STATUS_ZOMBIE:
                process.wait(timeout=STOP_TIMEOUT_SECONDS)  # Reap it, in case this process started it.
                return None
            return process
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess, psutil.TimeoutExpired):
            return None

    @property
    def generation(self) -> str:
        """A text that changes with every start, since a restarted process has lost what it had in memory."""
        process = self.process
        return f"{process.pid}@{process.create_time():.2f}" if process else "down"

    @property
    def process_group(self) -> list[psutil.Process]:
        """The process and the other members of its group; empty if it does not run."""
        process = self.process
        return [process, *_find_group_members(process.pid)] if process else []

    def read_log_tail(self, lines: int = 15) -> str:
        log = self.folder.get_log_file(self.name)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def find_stack_processes(folder: StackFolder) -> list[psutil.Process]:
    """Return all processes of the stack but this one, including those whose parent has ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(STACK_VARIABLE) == str(folder.path):
                found.append(process)
    return found


def terminate(processes: Sequence[psutil.Process], *, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
    """Terminate the processes, and kill those that still run after the timeout."""
    _send_signal(processes, signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=timeout_seconds)
    _send_signal(alive, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=STOP_TIMEOUT_SECONDS)


class _DetachedProcess(subprocess.Popen[bytes]):
    """A process that outlives its `Popen` object, about which `Popen.__del__` would warn."""

    def __del__(self) -> None:
        """Do nothing: `Daemon.stop` terminates and reaps the process."""


def _find_group_members(leader_pid: int) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != leader_pid and os.getpgid(process.pid) == leader_pid:
                members.append(process)
    return members


def _send_signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
