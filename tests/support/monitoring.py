"""Fakes of what operators see of queues, of accounts at Replicate and of the archive of the bus."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from replicate_proxy.errors import ConflictError, NotFoundError
from replicate_proxy.operations.replays import NAME_PREFIX, Replay
from replicate_proxy.replicate_api.rate_limit import RateLimitState
from tests.support.accounts import FakeAccountClient
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.jobs.model import Account
    from replicate_proxy.ports import Clock
    from tests.support.accounts import FakeAccounts


@dataclass
class FakeQueueAges:
    """A QueueAges in memory, which counts the queues that it was asked for."""

    ages: dict[str, int] = field(default_factory=dict)
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def read(self, queue_names: Sequence[str]) -> Mapping[str, int]:
        self.asked += queue_names
        if self.error is not None:
            raise self.error
        return {name: self.ages[name] for name in queue_names if name in self.ages}


@dataclass(frozen=True)
class FakeAccountReader:
    """An AccountReader over a `FakeAccounts`."""

    accounts: FakeAccounts
    clock: Clock
    account: Account

    def read_creates(self) -> RateLimitState:
        return RateLimitState(570.0, 60, 60, None, None)

    def read_reads(self) -> RateLimitState:
        return RateLimitState(2400.0, 200, 0, self.clock.now(), None)

    def get_name(self) -> str:
        token = self.accounts.secrets.get(("token", self.account), "")
        return FakeAccountClient(self.accounts, token).get_account_name()

    def read_webhook_secret_time(self) -> datetime | None:
        return NOW


@dataclass
class FakeEventReplays:
    """An EventReplays in memory; a replay runs until it is canceled or completed by the test."""

    replays: dict[str, Replay] = field(default_factory=dict)

    def start(self, name: str, *, start: datetime, end: datetime, rules: Sequence[str]) -> None:
        self.replays[name] = Replay(
            id=name.removeprefix(NAME_PREFIX),
            state="RUNNING",
            state_reason="",
            rules=tuple(rules),
            start=start,
            end=end,
            replayed_until=None,
            started_at=NOW,
            ended_at=None,
        )

    def get(self, name: str) -> Replay:
        if name not in self.replays:
            raise NotFoundError("no such replay")
        return self.replays[name]

    def list(self) -> Sequence[Replay]:
        return [replace(replay, rules=()) for replay in self.replays.values()]

    def cancel(self, name: str) -> None:
        if self.get(name).state != "RUNNING":
            raise ConflictError("the replay has ended")
        self.replays[name] = replace(self.replays[name], state="CANCELLING")
