"""The choices that decide whether something goes wrong: drawn from the seed, recorded, and replayed.

Each choice has a key, `<actor>/<number of the actor's choice>`. Only choices that differ from "nothing
happens" are recorded: together with the seed they are the whole difference to an undisturbed run. Leaving one
out does not renumber those of other actors, which is what makes a failing run shrinkable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tools.simulation.scheduler import Actor

NOTHING = ""


class Rates:
    """How likely each option of a choice is; the rest is `NOTHING`."""

    __slots__ = ("_rates", "_steps", "total")

    def __init__(self, **rates: float) -> None:
        self._rates = rates
        self._steps: list[tuple[float, str]] = []
        self.total = 0.0
        for option, rate in rates.items():
            if rate > 0:
                self.total += rate
                self._steps.append((self.total, option))

    def items(self) -> Iterable[tuple[str, float]]:
        """Return the options with their rates."""
        return self._rates.items()

    def pick(self, draw: float) -> str:
        """Return the option for a number from 0 to 1."""
        for limit, option in self._steps:
            if draw < limit:
                return option
        return NOTHING


class Decisions:
    """Makes the choices of one run. With `script`, only the choices that it names differ from `NOTHING`."""

    def __init__(self, script: Mapping[str, str] | None = None) -> None:
        self.taken: dict[str, str] = {}
        self._script = script

    def choose(self, actor: Actor, rates: Rates) -> str:
        """Return the option of the actor's next choice."""
        actor.decisions += 1
        draw = actor.random.random()
        if self._script is None:
            if draw >= rates.total:
                return NOTHING
            option = rates.pick(draw)
        else:
            option = self._script.get(f"{actor.name}/{actor.decisions}", NOTHING)
        if option:
            self.taken[f"{actor.name}/{actor.decisions}"] = option
            actor.process.injected_faults += 1
        return option
