"""A real Git repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.release.errors import ReleaseError
from tools.release.repository import GitRepository


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    """A repository with one commit."""
    _run_git(tmp_path, "init", "-q")
    _create_commit(tmp_path, "first")
    return GitRepository(tmp_path)


def _run_git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    command = ["git", "-C", str(folder), *identity, *arguments]
    result = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    return result.stdout.strip()


def _create_commit(folder: Path, text: str) -> None:
    (folder / "file").write_text(text, encoding="utf-8")
    _run_git(folder, "add", "-A")
    _run_git(folder, "commit", "-qm", text)


def test_commit_is_the_one_that_is_checked_out(repository: GitRepository) -> None:
    assert repository.get_commit() == _run_git(repository.root, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["file", "new"])
def test_commit_is_refused_when_there_are_uncommitted_changes(repository: GitRepository, name: str) -> None:
    (repository.root / name).write_text("changed", encoding="utf-8")

    with pytest.raises(ReleaseError, match=name):
        repository.get_commit()


def test_check_out_provides_an_older_commit_temporarily(repository: GitRepository) -> None:
    first = repository.get_commit()
    _create_commit(repository.root, "second")

    with repository.check_out(first) as folder:
        assert (folder / "file").read_text(encoding="utf-8") == "first"

    assert not folder.exists()
    assert _run_git(repository.root, "worktree", "list").count("\n") == 0
    assert (repository.root / "file").read_text(encoding="utf-8") == "second"


def test_check_out_raises_release_error_when_commit_does_not_exist(repository: GitRepository) -> None:
    with pytest.raises(ReleaseError, match="worktree"), repository.check_out("0" * 40):
        pass
