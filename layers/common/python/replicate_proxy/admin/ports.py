"""What administration needs from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from replicate_proxy.auth.keys import Limits

__all__ = ["BreakerSwitch", "Gateway", "Stage", "UsageKey"]


@dataclass(frozen=True)
class Stage:
    """The API and stage that an admin request came through."""

    api_id: str
    name: str


@dataclass(frozen=True)
class UsageKey:
    """API Gateway's name and value for one caller of a usage plan."""

    id: str
    value: str


class Gateway(Protocol):
    """What API Gateway does for keys."""

    def admit(self, label: str, limits: Limits, stage: Stage) -> UsageKey:
        """Gives a caller its place in the usage plan that has these limits, making the plan where there is
        none.
        """

    def expel(self, usage_key_id: str) -> None:
        """Takes the place away; one that is gone already is no error."""

    def forget_callers(self, stage: Stage) -> bool:
        """Drops the authorizer's cached answers; False where that failed and they have to run out by
        themselves.
        """


class BreakerSwitch(Protocol):
    """The circuit breaker in front of Replicate, by hand."""

    def view(self) -> Mapping[str, Any]: ...

    def trip(self) -> None: ...

    def reset(self) -> None: ...
