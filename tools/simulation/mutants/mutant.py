"""Represent a deliberately broken variant of the code."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from tools.simulation.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tools.simulation.faults import FaultMix

SETTINGS = RunSettings(jobs=25)
WITH_BATCHES = RunSettings(jobs=25, delete_share=0.3, batch_share=1.0)
WITH_QUEUE_LIMITS = RunSettings(jobs=25, fallback_share=1.0, queue_limit_share=1.0)


@dataclass(frozen=True)
class Mutant:
    """What is broken: attributes of modules or classes with their replacements.

    `mix` are the faults of its runs where those of a seed meet the broken part too rarely; `scenario` is
    explored instead where the broken part takes a certain order of steps, or run with a `script` where it
    is too long for that. The tests leave a mutant that `is_slow` to `make mutants`.
    """

    name: str
    guarantee: str
    patches: tuple[tuple[Any, str, Any], ...]
    mix: FaultMix | None = None
    settings: RunSettings = SETTINGS
    scenario: str = ""
    script: Mapping[str, str] | None = None
    is_slow: bool = False

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Break the code for the block."""
        with ExitStack() as stack:
            for target, attribute, replacement in self.patches:
                stack.enter_context(mock.patch.object(target, attribute, replacement))
            yield
