"""Crashes at a chosen call of whatever a service uses from outside."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class SimulatedCrashError(BaseException):
    """The process ends: no `except Exception` may survive it."""


@dataclass
class CrashPoint:
    """Counts the calls of all wrapped objects, and crashes at one: before or after it has its effect."""

    at: int | None = None
    has_effect: bool = False
    calls: list[str] = field(default_factory=list)

    def wrap(self, target: Any) -> Any:
        return _Wrapped(target, self)

    def perform(self, name: str, call: Callable[[], Any]) -> Any:
        self.calls.append(name)
        is_crash = len(self.calls) - 1 == self.at
        if is_crash and not self.has_effect:
            raise SimulatedCrashError(name)
        result = call()
        if is_crash:
            raise SimulatedCrashError(name)
        return result


@dataclass
class _Wrapped:
    target: Any
    point: CrashPoint

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.target, name)
        if not callable(attribute):
            return attribute
        return lambda *args, **options: self.point.perform(name, lambda: attribute(*args, **options))
