"""A release that holds is remembered; one that does not makes room for the last that did."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tools.release.errors import CommandError, ReleaseError
from tools.release.flow import Release
from tools.release.validation import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW, GOOD = "a" * 40, "b" * 40
HERE = Path("/checkout")


class World:
    """Source, deployer and ledger in one; `broken` commits do not hold, an `undeployable` one fails."""

    root = HERE

    def __init__(self, good: str | None, *, broken: tuple[str, ...] = (), undeployable: str = "") -> None:
        self.good = good
        self.broken = broken
        self.undeployable = undeployable
        self.deployed: list[tuple[Path, str]] = []
        self.said: list[str] = []

    def commit(self) -> str:
        return NEW

    @contextmanager
    def at(self, commit: str) -> Iterator[Path]:
        yield Path(f"/worktree/{commit[:1]}")

    def deploy(self, checkout: Path, config_env: str, release: str) -> None:
        if release == self.undeployable:
            raise CommandError("sam deploy failed with exit code 1")
        self.deployed.append((checkout, release))

    def last_good(self) -> str | None:
        return self.good

    def remember(self, commit: str) -> None:
        self.good = commit

    def validate(self) -> Iterator[Check]:
        holds = self.deployed[-1][1] not in self.broken
        yield Check("it answers", kept=True, seen="version 1")
        yield Check("a prediction succeeds", kept=holds, seen="")
        yield Check("Replicate's webhook was heard", kept=True, seen="webhook")

    def release(self) -> bool:
        return Release(self, self, self, self.validate, self.said.append).run("prod")


@pytest.mark.parametrize("before", [None, GOOD, NEW])
def test_what_holds_is_remembered_as_good(before: str | None) -> None:
    world = World(before)

    assert world.release() is True
    assert world.deployed == [(HERE, NEW)]
    assert world.good == NEW


def test_what_does_not_hold_makes_room_for_the_last_good_release() -> None:
    world = World(GOOD, broken=(NEW,))

    assert world.release() is False
    assert world.deployed == [(HERE, NEW), (Path("/worktree/b"), GOOD)]
    assert world.good == GOOD
    assert world.said[-1] == f"{GOOD[:12]} is back and good"


def test_it_is_said_when_even_the_good_release_does_not_hold_any_more() -> None:
    world = World(GOOD, broken=(NEW, GOOD))

    assert world.release() is False
    assert world.said[-1] == f"{GOOD[:12]} is back and DOES NOT HOLD EITHER"


def test_it_is_said_when_the_good_release_cannot_be_brought_back() -> None:
    world = World(GOOD, broken=(NEW,), undeployable=GOOD)

    assert world.release() is False
    assert f"{NEW[:12]} is STILL LIVE" in world.said[-1]


@pytest.mark.parametrize("good", [None, NEW])
def test_without_another_good_release_it_stays(good: str | None) -> None:
    world = World(good, broken=(NEW,))

    assert world.release() is False
    assert world.deployed == [(HERE, NEW)]
    assert world.good == good


def test_a_failed_deployment_is_left_to_cloudformation() -> None:
    world = World(GOOD, undeployable=NEW)

    assert world.release() is False
    assert world.deployed == []
    assert world.good == GOOD


def test_nothing_is_deployed_that_could_not_be_gone_back_to(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(GOOD)

    def commit() -> str:
        raise ReleaseError("uncommitted changes")

    monkeypatch.setattr(world, "commit", commit)
    with pytest.raises(ReleaseError):
        world.release()
    assert world.deployed == []
