"""Where one local stack keeps its files: everything below `.local/`, one folder per stack name."""

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
DEFAULT_NAME = "default"


@dataclass(frozen=True)
class Home:
    """The folder of one stack, so that the tests' stack and the user's never meet."""

    name: str = DEFAULT_NAME

    @property
    def directory(self) -> Path:
        return LOCAL / "stacks" / self.name

    @property
    def stack_file(self) -> Path:
        """`.local/stack.json` for the user's own stack; any tool may read it."""
        return (LOCAL if self.name == DEFAULT_NAME else self.directory) / "stack.json"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    def log(self, process: str) -> Path:
        return self.logs / f"{process}.log"

    @property
    def origin_file(self) -> Path:
        """Where the output front finds the emulated distribution: {"endpoint", "host"}."""
        return self.directory / "origin.json"

    @property
    def faults_file(self) -> Path:
        """What shall go wrong in this stack's functions; only `make chaos` writes it."""
        return self.directory / "faults.json"

    @property
    def clock_file(self) -> Path:
        """Seconds by which this stack's functions run ahead of the machine; only tests write it."""
        return self.directory / "clock-offset"

    @property
    def layers(self) -> Path:
        """The layer's files, one folder per deployment; functions import from there."""
        return self.directory / "layers"

    @property
    def lock(self) -> Path:
        return self.directory / "up.lock"

    def prepare(self) -> None:
        for folder in (self.logs, self.directory / "tmp", self.directory / "state"):
            folder.mkdir(parents=True, exist_ok=True)

    def forget(self) -> None:
        """Drop what the servers kept, so that the next start begins empty; logs and ports stay."""
        self.stack_file.unlink(missing_ok=True)
        self.origin_file.unlink(missing_ok=True)
        for folder in (*(self.directory / name for name in ("state", "s3", "tmp")), self.layers):
            shutil.rmtree(folder, ignore_errors=True)
