"""The files of local stacks: everything is below `.local/`, with one folder for each stack."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tools.local.errors import LocalError

ROOT = Path(__file__).resolve().parents[2]
LOCAL_FOLDER = ROOT / ".local"
DEFAULT_NAME = "default"
_NAME = re.compile("[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class StackFolder:
    """The folder of one stack. The name keeps the stacks of tests apart from the developer's.

    Raises LocalError for a name that cannot be part of file names.
    """

    name: str = DEFAULT_NAME

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise LocalError(
                f"not a name of a stack: {self.name}; use lower-case letters, digits and hyphens"
            )

    @property
    def make_argument(self) -> str:
        """What `make` targets need to work on this stack, with a space before it; empty for the default."""
        return "" if self.name == DEFAULT_NAME else f" LOCAL_STACK={self.name}"

    @property
    def path(self) -> Path:
        return LOCAL_FOLDER / "stacks" / self.name

    @property
    def stack_file(self) -> Path:
        """`.local/stack.json` for the default stack, where every tool finds it."""
        return (LOCAL_FOLDER if self.name == DEFAULT_NAME else self.path) / "stack.json"

    @property
    def logs_folder(self) -> Path:
        return self.path / "logs"

    def get_log_file(self, process_name: str) -> Path:
        return self.logs_folder / f"{process_name}.log"

    @property
    def distribution_file(self) -> Path:
        """What the output server has to know of the distribution: see `distribution`."""
        return self.path / "distribution.json"

    @property
    def url_key_file(self) -> Path:
        """The private key that signs URLs of private outputs, as PEM."""
        return self.path / "url-key.pem"

    @property
    def faults_file(self) -> Path:
        """The faults to inject into the functions of this stack: see `faults`, and `make chaos`."""
        return self.path / "faults.json"

    @property
    def clock_offset_file(self) -> Path:
        """The seconds that the clocks of this stack's functions are ahead; only tests write it."""
        return self.path / "clock-offset"

    @property
    def layers_folder(self) -> Path:
        """The unpacked layers and packages, a folder for each deployment, which the functions import from."""
        return self.path / "layers"

    @property
    def lock_file(self) -> Path:
        return self.path / "up.lock"

    def create(self) -> None:
        for folder in (self.logs_folder, self.path / "tmp", self.path / "state"):
            folder.mkdir(parents=True, exist_ok=True)

    def delete_data(self) -> None:
        """Delete the data of the servers, so that the next start begins empty; keep logs and ports."""
        self.stack_file.unlink(missing_ok=True)
        self.distribution_file.unlink(missing_ok=True)
        self.url_key_file.unlink(missing_ok=True)
        for folder in (*(self.path / name for name in ("state", "s3", "tmp")), self.layers_folder):
            shutil.rmtree(folder, ignore_errors=True)
