"""What became of the accepted predictions."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import requests

from replicate_proxy.clock import parse_timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_TERMINAL_STATUSES = frozenset({"succeeded", "failed", "canceled"})
_TIMEOUT_SECONDS = 60
_POLL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """A prediction that a create has returned, and the key that created it."""

    key: str
    id: str


@dataclass(slots=True)
class Outcome:
    """How the predictions ended; `lost` are those that the API does not know, or that did not end in time."""

    statuses: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    first_accepted_at: float | None = None
    last_ended_at: float | None = None

    @property
    def drained_per_second(self) -> float | None:
        """Return how many predictions ended in a second, from the first acceptance to the last end."""
        if self.first_accepted_at is None or self.last_ended_at is None:
            return None
        return self.statuses.total() / max(self.last_ended_at - self.first_accepted_at, 0.001)

    def add(self, view: Mapping[str, Any]) -> None:
        """Count a prediction that has ended, by its JSON."""
        self.statuses[view["status"]] += 1
        timeline = view["proxy"]["timeline"]
        accepted_at, ended_at = (
            parse_timestamp(timeline[step]).timestamp() for step in ("accepted", "finished")
        )
        self.first_accepted_at = min(accepted_at, self.first_accepted_at or accepted_at)
        self.last_ended_at = max(ended_at, self.last_ended_at or ended_at)


def read_accepted(lines: Sequence[str], keys: Sequence[str]) -> list[Accepted]:
    """Parse lines of the number of a key and an ID."""
    return [Accepted(keys[int(number)], job_id) for number, job_id in (line.split() for line in lines)]


def follow(
    url: str,
    accepted: Sequence[Accepted],
    *,
    timeout_seconds: float,
    report: Callable[[int], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Wait until all predictions have ended. `report` is called with how many have not, after each round."""
    outcome, left = Outcome(), list(accepted)
    deadline = time.monotonic() + timeout_seconds
    with requests.Session() as session:
        while left:
            left = [each for each in left if not _has_ended(session, url, each, outcome)]
            report(len(left))
            if time.monotonic() > deadline:
                outcome.lost += [each.id for each in left]
                break
            if left:
                sleep(_POLL_SECONDS)
    return outcome


def _has_ended(session: requests.Session, url: str, accepted: Accepted, outcome: Outcome) -> bool:
    response = session.get(
        f"{url}/v1/predictions/{accepted.id}",
        headers={"Authorization": f"Bearer {accepted.key}"},
        timeout=_TIMEOUT_SECONDS,
    )
    if response.status_code == HTTPStatus.NOT_FOUND:
        outcome.lost.append(accepted.id)
        return True
    if response.status_code != HTTPStatus.OK:
        return False  # asked again in the next round
    view = response.json()
    if view["status"] not in _TERMINAL_STATUSES:
        return False
    outcome.add(view)
    return True
