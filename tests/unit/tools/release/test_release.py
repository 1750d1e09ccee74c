from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tools.release.errors import CommandError, ReleaseError
from tools.release.release import Release
from tools.release.validation import CheckResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NEW, GOOD = "a" * 40, "b" * 40
ROOT = Path("/checkout")
BEFORE = {"Stage": "prod", "AllowedCidrs": ""}
# By commit: what its samconfig.toml sets.
OVERRIDES = {GOOD: {"Stage": "prod"}, NEW: {"Stage": "prod", "AllowedCidrs": "192.0.2.0/24"}}


class FakeDeployment:
    """Repository, deployer and stack in one.

    Validation fails while an invalid commit is deployed; the deployment of `undeployable` fails. The
    repository has no commit that is `absent`, as one that was cloned with a limited depth. A parameter that a
    deployment does not set keeps its value.
    """

    root = ROOT

    def __init__(
        self,
        last_good: str | None,
        *,
        invalid: tuple[str, ...] = (),
        undeployable: str = "",
        absent: str = "",
    ) -> None:
        self.last_good = last_good
        self.invalid = invalid
        self.undeployable = undeployable
        self.parameters: Mapping[str, str] = BEFORE
        self.absent = absent
        self.deployed: list[tuple[Path, str]] = []
        self.immediate: list[str] = []
        self.printed: list[str] = []

    def get_commit(self) -> str:
        return NEW

    @contextmanager
    def check_out(self, commit: str) -> Iterator[Path]:
        if commit == self.absent:
            raise ReleaseError(f"git worktree failed: fatal: invalid reference: {commit}")
        yield Path(f"/worktree/{commit[:1]}")

    def get_parameters(self) -> Mapping[str, str]:
        return self.parameters

    def deploy(
        self,
        checkout: Path,
        config_env: str,
        release: str,
        *,
        immediate: bool = False,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        if release == self.undeployable:
            raise CommandError("sam deploy failed with exit code 1")
        self.deployed.append((checkout, release))
        self.parameters = {**self.parameters, **(OVERRIDES[release] if parameters is None else parameters)}
        if immediate:
            self.immediate.append(release)

    def get_last_good(self) -> str | None:
        return self.last_good

    def set_last_good(self, commit: str) -> None:
        self.last_good = commit

    def validate(self) -> Iterator[CheckResult]:
        is_valid = self.deployed[-1][1] not in self.invalid
        yield CheckResult("the API responds", passed=True, detail="version 1")
        yield CheckResult("a prediction succeeds", passed=is_valid, detail="")
        yield CheckResult("Replicate's webhook was received", passed=True, detail="webhook")

    def release(self) -> bool:
        return Release(self, self, self, self.validate, self.printed.append).run("prod")


@pytest.mark.parametrize("last_good", [None, GOOD, NEW])
def test_valid_release_is_recorded_as_good(last_good: str | None) -> None:
    deployment = FakeDeployment(last_good)

    assert deployment.release() is True
    assert deployment.deployed == [(ROOT, NEW)]
    assert deployment.last_good == NEW


def test_invalid_release_is_rolled_back_to_last_good_commit() -> None:
    deployment = FakeDeployment(GOOD, invalid=(NEW,))

    assert deployment.release() is False
    assert deployment.deployed == [(ROOT, NEW), (Path("/worktree/b"), GOOD)]
    assert deployment.last_good == GOOD
    assert deployment.printed[-1] == f"{GOOD[:12]} is deployed again and valid"


def test_rollback_is_immediate_whatever_the_strategy_of_the_release() -> None:
    """The alarms that stop a gradual deployment are on because of the release that is rolled back."""
    deployment = FakeDeployment(GOOD, invalid=(NEW,))

    deployment.release()

    assert deployment.immediate == [GOOD]


def test_rollback_restores_parameters_that_only_the_invalid_release_sets() -> None:
    deployment = FakeDeployment(GOOD, invalid=(NEW,))

    deployment.release()

    assert deployment.parameters == BEFORE


def test_valid_release_has_the_parameters_of_its_commit() -> None:
    deployment = FakeDeployment(GOOD)

    deployment.release()

    assert deployment.parameters == OVERRIDES[NEW]


def test_release_reports_when_last_good_commit_is_not_valid_any_more() -> None:
    deployment = FakeDeployment(GOOD, invalid=(NEW, GOOD))

    assert deployment.release() is False
    assert deployment.printed[-1] == f"{GOOD[:12]} is deployed again and NOT VALID EITHER"


def test_release_reports_when_rollback_fails() -> None:
    deployment = FakeDeployment(GOOD, invalid=(NEW,), undeployable=GOOD)

    assert deployment.release() is False
    assert f"{NEW[:12]} is STILL DEPLOYED" in deployment.printed[-1]


def test_release_reports_when_last_good_commit_is_not_in_the_repository() -> None:
    deployment = FakeDeployment(GOOD, invalid=(NEW,), absent=GOOD)

    assert deployment.release() is False
    assert f"invalid reference: {GOOD}: {NEW[:12]} is STILL DEPLOYED" in deployment.printed[-1]


@pytest.mark.parametrize("last_good", [None, NEW])
def test_invalid_release_stays_when_there_is_no_other_good_commit(last_good: str | None) -> None:
    deployment = FakeDeployment(last_good, invalid=(NEW,))

    assert deployment.release() is False
    assert deployment.deployed == [(ROOT, NEW)]
    assert deployment.last_good == last_good


def test_failed_deployment_is_not_rolled_back_again() -> None:
    """CloudFormation has already rolled it back."""
    deployment = FakeDeployment(GOOD, undeployable=NEW)

    assert deployment.release() is False
    assert deployment.deployed == []
    assert deployment.last_good == GOOD
    assert '"When an update fails"' in deployment.printed[-1]


def test_nothing_is_deployed_when_commit_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = FakeDeployment(GOOD)

    def get_commit() -> str:
        raise ReleaseError("there are uncommitted changes")

    monkeypatch.setattr(deployment, "get_commit", get_commit)
    with pytest.raises(ReleaseError):
        deployment.release()
    assert deployment.deployed == []
