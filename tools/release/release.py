"""A release: deploy a commit and validate it; if it is not valid, deploy the last good commit again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tools.release.errors import CommandError, ReleaseError
from tools.release.validation import run_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tools.release.validation import CheckResult


class Repository(Protocol):
    @property
    def root(self) -> Path: ...
    def get_commit(self) -> str: ...
    def check_out(self, commit: str) -> AbstractContextManager[Path]: ...


class Deployer(Protocol):
    def deploy(
        self,
        checkout: Path,
        config_env: str,
        release: str,
        *,
        immediate: bool = False,
        parameters: Mapping[str, str] | None = None,
    ) -> None: ...


class Stack(Protocol):
    """The stack, with the last commit that was valid after its deployment."""

    def get_last_good(self) -> str | None: ...
    def set_last_good(self, commit: str) -> None: ...
    def get_parameters(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Release:
    """Deploys the current commit of the repository."""

    repository: Repository
    deployer: Deployer
    stack: Stack
    validate: Callable[[], Iterable[CheckResult]]
    print_line: Callable[[str], None]

    def run(self, config_env: str) -> bool:
        """Return whether the commit is deployed and valid. Raises `ReleaseError` if this is unknown."""
        commit, last_good = self.repository.get_commit(), self.stack.get_last_good()
        parameters = self.stack.get_parameters()
        self.print_line(
            f"releasing {_shorten(commit)} to {config_env}; the last good commit is {_shorten(last_good)}"
        )
        try:
            self.deployer.deploy(self.repository.root, config_env, commit)
        except CommandError as error:
            self.print_line(
                f"{error}; the previous release is still deployed, or CloudFormation returns to it by itself"
                ' (docs/deploying.md, "When an update fails")'
            )
            return False
        if self._is_valid():
            self.stack.set_last_good(commit)
            self.print_line(f"{_shorten(commit)} is deployed and valid")
            return True
        self._roll_back(config_env, commit, last_good, parameters)
        return False

    def _roll_back(
        self, config_env: str, commit: str, last_good: str | None, parameters: Mapping[str, str]
    ) -> None:
        """Deploy the last good commit with the parameters that the stack had before this release.

        What only this release sets would otherwise stay: CloudFormation keeps a parameter that is not given.
        """
        if last_good is None:
            self.print_line(
                "validation failed, and there is no good commit to roll back to: fix this release"
            )
            return
        if last_good == commit:
            self.print_line(
                "validation failed, though this commit was valid before: check the services that the stack"
                " depends on (docs/operations.md)"
            )
            return
        self.print_line(f"validation failed: rolling back to {_shorten(last_good)}")
        try:
            with self.repository.check_out(last_good) as checkout:
                self.deployer.deploy(checkout, config_env, last_good, immediate=True, parameters=parameters)
        except ReleaseError as error:  # also of git: a clone of limited depth may lack the commit
            self.print_line(
                f"{error}: {_shorten(commit)} is STILL DEPLOYED; deploy {_shorten(last_good)} manually"
            )
            return
        result = "valid" if self._is_valid() else "NOT VALID EITHER"
        self.print_line(f"{_shorten(last_good)} is deployed again and {result}")

    def _is_valid(self) -> bool:
        return run_checks(self.validate(), self.print_line)


def _shorten(commit: str | None) -> str:
    return commit[:12] if commit else "none"
