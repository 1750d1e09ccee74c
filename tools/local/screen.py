"""What the user sees while something takes time: a spinner on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

WIDTH = 150  # of tables where no terminal says its own


class Screen:
    """Steps and their times, on one rich console."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)

    @contextmanager
    def step(self, description: str) -> Iterator[Callable[[str], None]]:
        """Shows `doing` until the block ends, then what it called `done` with, and how long it took."""
        outcome = [description]
        start = time.monotonic()
        with self.console.status(f"{description} …"):
            yield lambda text: outcome.__setitem__(0, text)
        self.console.print(f"[green]✓[/] {outcome[0]} [dim]({time.monotonic() - start:.1f} s)[/]")

    def print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)
