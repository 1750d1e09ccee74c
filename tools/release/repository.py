"""The Git repository that is released."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.release.errors import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class GitRepository:
    """The repository with the working tree `root`. Each method raises `ReleaseError` if git fails."""

    root: Path

    def get_commit(self) -> str:
        """Return the current commit.

        Raises `ReleaseError` if there are uncommitted changes, since a rollback could not restore them.
        """
        changes = self._run_git("status", "--porcelain")
        if changes:
            raise ReleaseError(f"there are uncommitted changes; commit or stash them first:\n{changes}")
        return self._run_git("rev-parse", "HEAD")

    @contextmanager
    def check_out(self, commit: str) -> Iterator[Path]:
        """Yield a temporary folder with the files of the commit."""
        with tempfile.TemporaryDirectory(prefix="release-") as temporary:
            folder = Path(temporary) / "checkout"
            self._run_git("worktree", "add", "--detach", str(folder), commit)
            try:
                yield folder
            finally:
                with suppress(ReleaseError):  # git forgets the folder by itself later
                    self._run_git("worktree", "remove", "--force", str(folder))

    def _run_git(self, *arguments: str) -> str:
        git = shutil.which("git")
        if git is None:
            raise ReleaseError("git is not installed")
        result = subprocess.run(
            [git, "-C", str(self.root), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        if result.returncode:
            raise ReleaseError(f"git {arguments[0]} failed: {result.stderr.strip()}")
        return result.stdout.strip()
