"""The checkout that is released, and others of older commits."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.release.errors import ReleaseError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Checkout:
    root: Path

    def commit(self) -> str:
        """The commit that the files are exactly of; what is in no commit could never be gone back to."""
        changed = self._git("status", "--porcelain")
        if changed:
            raise ReleaseError(f"uncommitted changes, commit or stash them first:\n{changed}")
        return self._git("rev-parse", "HEAD")

    @contextmanager
    def at(self, commit: str) -> Iterator[Path]:
        """A folder with the files of that commit, gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="release-") as temporary:
            folder = Path(temporary) / "checkout"
            self._git("worktree", "add", "--detach", str(folder), commit)
            try:
                yield folder
            finally:
                self._git("worktree", "remove", "--force", str(folder))

    def _git(self, *arguments: str) -> str:
        git = shutil.which("git")
        if git is None:
            raise ReleaseError("git is not installed")
        done = subprocess.run(
            [git, "-C", str(self.root), *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise ReleaseError(f"git {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout.strip()
