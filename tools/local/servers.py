"""One HTTP server of a stack: on loopback, on the same port as last time where that is free.

Loopback ports: the one used last time where it is still free, so that addresses stay the same.

The three servers of a stack: the emulated AWS, the local Replicate, and the front that serves outputs.
"""

import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from tools.local import emulator, waiting
from tools.local.paths import DEFAULT_NAME, ROOT, StackFolder
from tools.local.processes import Daemon, clean_environment

START_TIMEOUT_SECONDS = 60.0
PROBE_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Server:
    """A daemon with an address. `command` and `environment` get the port; `probe` always answers."""

    folder: StackFolder
    name: str
    build_command: Callable[[int], Sequence[str | Path]]
    build_environment: Callable[[int], Mapping[str, str]]
    probe_path: str
    preferred_port: int | None = None

    @property
    def daemon(self) -> Daemon:
        return Daemon(self.folder, self.name)

    @property
    def url(self) -> str | None:
        """Its address if it runs and answers."""
        port = self._remembered_port
        if port is None or self.daemon.process is None:
            return None
        address = f"http://{LOOPBACK}:{port}"
        try:
            answer = requests.get(address + self.probe_path, timeout=PROBE_TIMEOUT_SECONDS)
        except requests.RequestException:
            return None
        return address if answer.status_code < requests.codes.server_error else None

    def start(self) -> str:
        """Start it unless it runs; its address either way."""
        running = self.url
        if running:
            return running
        self.daemon.stop()
        port = choose_port(self._remembered_port, self.preferred_port)
        self._port_file.write_text(str(port), encoding="utf-8")
        self.daemon.start(self.build_command(port), self.build_environment(port))
        return waiting.wait_for(
            lambda: self.url,
            timeout_seconds=START_TIMEOUT_SECONDS,
            description=f"answer from {self.name}; its log is {self.folder.get_log_file(self.name)}",
            is_alive=lambda: self.daemon.process is not None,
        )

    def stop(self) -> None:
        self.daemon.stop()

    @property
    def _port_file(self) -> Path:
        return self.folder.path / f"{self.name}.port"

    @property
    def _remembered_port(self) -> int | None:
        try:
            return int(self._port_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


LOOPBACK = "127.0.0.1"


def is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def choose_port(*preferred: int | None) -> int:
    """The first free one of the preferred ports, else any free port."""
    for port in preferred:
        if port and is_port_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


AWS_PORT = 4566


def list_servers(home: StackFolder) -> list[Server]:
    return [get_emulator(home), get_simulator(home), get_output_server(home)]


def get_emulator(home: StackFolder) -> Server:
    """MiniStack with IAM enforced. The user's stack has the well-known port, others any free one."""
    return Server(
        home,
        "ministack",
        build_command=lambda _: [ROOT / ".venvs/ministack/bin/ministack"],
        build_environment=lambda port: _ministack(home, port),
        probe_path="/_ministack/health",
        preferred_port=AWS_PORT if home.name == DEFAULT_NAME else None,
    )


def get_simulator(home: StackFolder) -> Server:
    """The local Replicate, written in `tools/simulator/`."""
    ready = home.path / "replicate.ready.json"
    return Server(
        home,
        "replicate",
        build_command=lambda port: [
            *(sys.executable, "-m", "tools.simulator", "--port", str(port), "--ready-file", ready),
        ],
        build_environment=lambda _: clean_environment(),
        probe_path="/_control/health",
    )


def get_output_server(home: StackFolder) -> Server:
    """Serves stored outputs as CloudFront would; which distribution, it reads from the stack's own file."""
    return Server(
        home,
        "outputs",
        build_command=lambda port: [
            *(
                sys.executable,
                "-m",
                "tools.local.output_server",
                "--port",
                str(port),
                "--origin-file",
                home.distribution_file,
            ),
        ],
        build_environment=lambda _: clean_environment(),
        probe_path="/health",
    )


def _ministack(home: StackFolder, port: int) -> dict[str, str]:
    """No AWS_ENDPOINT_URL: functions inherit this environment, and it would win over the emulator's own."""
    return clean_environment() | {
        "AUTH": "true",
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "MINISTACK_REGION": emulator.REGION,
        "AWS_DEFAULT_REGION": emulator.REGION,
        "AWS_ACCESS_KEY_ID": emulator.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": emulator.SECRET_KEY,
        "TMPDIR": str(home.path / "tmp"),
        "STATE_DIR": str(home.path / "state"),
        "S3_DATA_DIR": str(home.path / "s3"),
        "PERSIST_STATE": "1",
        "S3_PERSIST": "1",
    }
