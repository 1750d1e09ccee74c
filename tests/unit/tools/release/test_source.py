"""Checkouts of a real repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.release.errors import ReleaseError
from tools.release.source import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    git(tmp_path, "init", "-q")
    commit(tmp_path, "first")
    return Checkout(tmp_path)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.com")
    command = ["git", "-C", str(folder), *identity, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, encoding="utf-8")
    return done.stdout.strip()


def commit(folder: Path, text: str) -> str:
    (folder / "file").write_text(text, encoding="utf-8")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", text)
    return git(folder, "rev-parse", "HEAD")


def test_the_commit_is_the_one_that_is_checked_out(checkout: Checkout) -> None:
    assert checkout.commit() == git(checkout.root, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["file", "new"])
def test_what_is_in_no_commit_is_not_released(checkout: Checkout, name: str) -> None:
    (checkout.root / name).write_text("changed", encoding="utf-8")

    with pytest.raises(ReleaseError, match=name):
        checkout.commit()


def test_an_older_commit_is_there_for_a_while(checkout: Checkout) -> None:
    first = checkout.commit()
    commit(checkout.root, "second")

    with checkout.at(first) as folder:
        assert (folder / "file").read_text(encoding="utf-8") == "first"

    assert not folder.exists()
    assert git(checkout.root, "worktree", "list").count("\n") == 0
    assert (checkout.root / "file").read_text(encoding="utf-8") == "second"


def test_a_commit_that_is_not_there_is_said_to_be_missing(checkout: Checkout) -> None:
    with pytest.raises(ReleaseError, match="worktree"), checkout.at("0" * 40):
        pass
