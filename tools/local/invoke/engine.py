"""The Docker engine that runs the container, and how its containers reach this machine."""

import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from tools.local.errors import LocalError

RELAY_SOCKET = "relay.sock"

_CODE_FOLDER = "/var/task"
"""Where the container mounts the folder of the function's code."""
_HOST_NAME = "host.docker.internal"
"""The name of this machine, loopback included, in containers of a virtual machine (Docker Desktop)."""


@dataclass(frozen=True)
class DockerEngine:
    """A running engine. `operating_system` is the one that it reports."""

    operating_system: str

    @property
    def is_on_this_machine(self) -> bool:
        """Whether containers share this machine's kernel, and so can use its Unix sockets."""
        return platform.system() == "Linux" and "Docker Desktop" not in self.operating_system

    @property
    def relay_target(self) -> str:
        """What `container.py` forwards connections to."""
        return f"unix:{_CODE_FOLDER}/{RELAY_SOCKET}" if self.is_on_this_machine else f"tcp:{_HOST_NAME}"


def find_engine(environment: Mapping[str, str]) -> DockerEngine:
    """Return the running Docker engine. Raises `LocalError` if there is none."""
    docker = shutil.which("docker")
    if docker is None:
        raise LocalError("`sam local invoke` needs Docker, which is not on the PATH; `make demo` needs none")
    command = [docker, "info", "--format", "{{.OperatingSystem}}"]
    result = subprocess.run(command, env=dict(environment), capture_output=True, text=True, check=False)
    if result.returncode != 0 or not result.stdout.strip():
        raise LocalError(
            "`sam local invoke` needs a Docker engine, and none is running; `make demo` needs none"
        )
    return DockerEngine(result.stdout.strip())
