"""One release from beginning to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tools.release.errors import CommandError
from tools.release.validation import holds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tools.release.validation import Check


class Source(Protocol):
    @property
    def root(self) -> Path: ...
    def commit(self) -> str: ...
    def at(self, commit: str) -> AbstractContextManager[Path]: ...


class Deployer(Protocol):
    def deploy(self, checkout: Path, config_env: str, release: str) -> None: ...


class Ledger(Protocol):
    def last_good(self) -> str | None: ...
    def remember(self, commit: str) -> None: ...


@dataclass(frozen=True)
class Release:
    """Deploys the commit, validates it, remembers it as good; or brings the last good one back."""

    source: Source
    deployer: Deployer
    ledger: Ledger
    validate: Callable[[], Iterable[Check]]
    say: Callable[[str], None]

    def run(self, config_env: str) -> bool:
        """Whether the commit is live and good. Raises `ReleaseError` where that cannot be found out."""
        commit, good = self.source.commit(), self.ledger.last_good()
        self.say(f"releasing {_short(commit)} to {config_env}; the last good release is {_short(good)}")
        try:
            self.deployer.deploy(self.source.root, config_env, commit)
        except CommandError as error:
            self.say(f"{error}; CloudFormation has kept, or gone back to, what was there")
            return False
        if self._holds():
            self.ledger.remember(commit)
            self.say(f"{_short(commit)} is live and good")
            return True
        self._go_back(config_env, commit, good)
        return False

    def _go_back(self, config_env: str, commit: str, good: str | None) -> None:
        if good is None:
            self.say("it does not hold, and there is no good release to go back to: it stays, mend it")
            return
        if good == commit:
            self.say("it does not hold, though it once did: look at what it depends on (docs/operations.md)")
            return
        self.say(f"it does not hold: going back to {_short(good)}")
        try:
            with self.source.at(good) as checkout:
                self.deployer.deploy(checkout, config_env, good)
        except CommandError as error:
            self.say(f"{error}: {_short(commit)} is STILL LIVE; deploy {_short(good)} by hand")
            return
        self.say(f"{_short(good)} is back " + ("and good" if self._holds() else "and DOES NOT HOLD EITHER"))

    def _holds(self) -> bool:
        return holds(self.validate(), self.say)


def _short(commit: str | None) -> str:
    return commit[:12] if commit else "none"
