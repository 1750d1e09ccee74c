"""One HTTP server of a stack: on loopback, on the same port as last time where that is free."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from tools.local import ports, waiting
from tools.local.home import Home
from tools.local.processes import Daemon

START_SECONDS = 60.0
PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class Server:
    """A daemon with an address. `command` and `environment` get the port; `probe` always answers."""

    home: Home
    name: str
    command: Callable[[int], Sequence[str | Path]]
    environment: Callable[[int], Mapping[str, str]]
    probe: str
    preferred_port: int | None = None

    @property
    def daemon(self) -> Daemon:
        return Daemon(self.home, self.name)

    @property
    def url(self) -> str | None:
        """Its address if it runs and answers."""
        port = self._remembered_port
        if port is None or self.daemon.process is None:
            return None
        address = f"http://{ports.LOOPBACK}:{port}"
        try:
            answer = requests.get(address + self.probe, timeout=PROBE_SECONDS)
        except requests.RequestException:
            return None
        return address if answer.status_code < requests.codes.server_error else None

    def start(self) -> str:
        """Start it unless it runs; its address either way."""
        running = self.url
        if running:
            return running
        self.daemon.stop()
        port = ports.choose(self._remembered_port, self.preferred_port)
        self._port_file.write_text(str(port), encoding="utf-8")
        self.daemon.start(self.command(port), self.environment(port))
        return waiting.until(
            lambda: self.url,
            seconds=START_SECONDS,
            what=f"answer from {self.name}; its log is {self.home.log(self.name)}",
            alive=lambda: self.daemon.process is not None,
        )

    def stop(self) -> None:
        self.daemon.stop()

    @property
    def _port_file(self) -> Path:
        return self.home.directory / f"{self.name}.port"

    @property
    def _remembered_port(self) -> int | None:
        try:
            return int(self._port_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
