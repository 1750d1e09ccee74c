"""Parameters of the template that a deployment has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

# The least that the template allows, its default, and more.
_TIMEOUTS: Mapping[str, tuple[float, ...]] = {
    "queued_seconds": (1, 20, 120, 1800),
    # With more, few checks fit into the hour for which Replicate keeps a result: a storm may lose it.
    "unknown_outcome_seconds": (1, 30, 90),
    "resubmit_after_seconds": (180, 181, 900),
    "webhook_seconds": (1, 30, 300, 1500),
    "poll_interval_seconds": (1, 5, 60),
    "harvest_seconds": (1, 30, 600, 1800),
}
_SCHEDULES_SECONDS: tuple[tuple[float, ...], ...] = (
    (0.0,),
    (0.0, 1.0),
    (0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    (0.0, 5.0, 172800.0),
)


def draw_timeouts(source: random.Random) -> Mapping[str, Any]:
    """Draw timeouts of jobs: arguments of JobTimeouts."""
    return {name: source.choice(choices) for name, choices in _TIMEOUTS.items()}


def draw_schedule_seconds(source: random.Random) -> tuple[float, ...]:
    """Draw the delays before the attempts of a delivery."""
    return source.choice(_SCHEDULES_SECONDS)
