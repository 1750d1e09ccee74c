"""The servers of a local stack: the emulated AWS, the local Replicate, and the server of outputs.

Each is a daemon that listens on loopback, on the port of its last run if that is still free, so that
addresses stay the same.
"""

import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from tools.local import emulator, waiting
from tools.local.loopback import LOOPBACK
from tools.local.paths import DEFAULT_NAME, ROOT, StackFolder
from tools.local.processes import Daemon, clean_environment

EMULATOR_PORT = 4566
START_TIMEOUT_SECONDS = 60.0
PROBE_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Server:
    """A daemon with an address.

    `build_command` and `build_environment` get the port. The server is up if GET `probe_path` returns no
    server error.
    """

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
        """The address if the server is up."""
        port = self._last_port
        if port is None or self.daemon.process is None:
            return None
        url = f"http://{LOOPBACK}:{port}"
        try:
            response = requests.get(url + self.probe_path, timeout=PROBE_TIMEOUT_SECONDS)
        except requests.RequestException:
            return None
        return url if response.status_code < requests.codes.server_error else None

    def start(self) -> str:
        """Start the server unless it is up, and return its address."""
        url = self.url
        if url:
            return url
        self.daemon.stop()
        port = choose_port(self._last_port, self.preferred_port)
        self._port_file.write_text(str(port), encoding="utf-8")
        self.daemon.start(self.build_command(port), self.build_environment(port))
        return waiting.wait_for(
            lambda: self.url,
            timeout_seconds=START_TIMEOUT_SECONDS,
            description=f"a response of {self.name}; see its log {self.folder.get_log_file(self.name)}",
            is_alive=lambda: self.daemon.process is not None,
        )

    def stop(self) -> None:
        self.daemon.stop()

    @property
    def _port_file(self) -> Path:
        return self.folder.path / f"{self.name}.port"

    @property
    def _last_port(self) -> int | None:
        try:
            return int(self._port_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def list_servers(folder: StackFolder) -> list[Server]:
    return [get_emulator(folder), get_simulator(folder), get_output_server(folder)]


def get_emulator(folder: StackFolder) -> Server:
    """Return the server MiniStack, which emulates AWS and enforces IAM policies."""
    return Server(
        folder,
        "ministack",
        build_command=lambda _: [ROOT / ".venvs/ministack/bin/ministack"],
        build_environment=lambda port: _build_emulator_environment(folder, port),
        probe_path="/_ministack/health",
        preferred_port=EMULATOR_PORT if folder.name == DEFAULT_NAME else None,
    )


def get_simulator(folder: StackFolder) -> Server:
    """Return the server of `tools.simulator`, the local Replicate."""
    ready_file = folder.path / "replicate.ready.json"
    return Server(
        folder,
        "replicate",
        build_command=lambda port: [
            *(sys.executable, "-m", "tools.simulator"),
            *("--port", str(port), "--ready-file", ready_file),
        ],
        build_environment=lambda _: clean_environment(),
        probe_path="/_control/health",
    )


def get_output_server(folder: StackFolder) -> Server:
    """Return the server of `tools.local.output_server`, which stands for CloudFront."""
    return Server(
        folder,
        "outputs",
        build_command=lambda port: [
            *(sys.executable, "-m", "tools.local.output_server"),
            *("--port", str(port), "--distribution-file", folder.distribution_file),
        ],
        build_environment=lambda _: clean_environment(),
        probe_path="/health",
    )


def _build_emulator_environment(folder: StackFolder, port: int) -> dict[str, str]:
    """Return the environment of MiniStack, which the functions inherit.

    AWS_ENDPOINT_URL is not in it: it would override the value that the emulator gives to functions.
    """
    return clean_environment() | {
        "AUTH": "true",
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "MINISTACK_REGION": emulator.REGION,
        "AWS_DEFAULT_REGION": emulator.REGION,
        "AWS_ACCESS_KEY_ID": emulator.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": emulator.SECRET_KEY,
        "TMPDIR": str(folder.path / "tmp"),
        "STATE_DIR": str(folder.path / "state"),
        "S3_DATA_DIR": str(folder.path / "s3"),
        "PERSIST_STATE": "1",
        "S3_PERSIST": "1",
    }


def choose_port(*preferred: int | None) -> int:
    """Return the first preferred port that is free, or else any free port."""
    for port in preferred:
        if port and is_port_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_port_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True
