"""Where one local stack keeps its files: everything below `.local/`, one folder per stack name."""

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL_FOLDER = ROOT / ".local"
DEFAULT_NAME = "default"


@dataclass(frozen=True)
class StackFolder:
    """The folder of one stack, so that the tests' stack and the user's never meet."""

    name: str = DEFAULT_NAME

    @property
    def path(self) -> Path:
        return LOCAL_FOLDER / "stacks" / self.name

    @property
    def stack_file(self) -> Path:
        """`.local/stack.json` for the user's own stack; any tool may read it."""
        return (LOCAL_FOLDER if self.name == DEFAULT_NAME else self.path) / "stack.json"

    @property
    def logs_folder(self) -> Path:
        return self.path / "logs"

    def get_log_file(self, process_name: str) -> Path:
        return self.logs_folder / f"{process_name}.log"

    @property
    def distribution_file(self) -> Path:
        """Where the output front finds the emulated distribution: {"endpoint", "host"}."""
        return self.path / "origin.json"

    @property
    def faults_file(self) -> Path:
        """What shall go wrong in this stack's functions; only `make chaos` writes it."""
        return self.path / "faults.json"

    @property
    def clock_offset_file(self) -> Path:
        """Seconds by which this stack's functions run ahead of the machine; only tests write it."""
        return self.path / "clock-offset"

    @property
    def layers_folder(self) -> Path:
        """The layer's files, one folder per deployment; functions import from there."""
        return self.path / "layers"

    @property
    def lock_file(self) -> Path:
        return self.path / "up.lock"

    def create(self) -> None:
        for folder in (self.logs_folder, self.path / "tmp", self.path / "state"):
            folder.mkdir(parents=True, exist_ok=True)

    def delete_data(self) -> None:
        """Drop what the servers kept, so that the next start begins empty; logs and ports stay."""
        self.stack_file.unlink(missing_ok=True)
        self.distribution_file.unlink(missing_ok=True)
        for folder in (*(self.path / name for name in ("state", "s3", "tmp")), self.layers_folder):
            shutil.rmtree(folder, ignore_errors=True)
