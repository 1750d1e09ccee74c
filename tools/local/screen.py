"""What a command shows while it runs: a spinner on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

_WIDTH_WITHOUT_TERMINAL = 150


class Screen:
    """Prints texts and the steps of a command with their durations."""

    def __init__(self, console: Console | None = None) -> None:
        width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
        self.console = console or Console(highlight=False, width=width)

    @contextmanager
    def step(self, description: str) -> Iterator[Callable[[str], None]]:
        """Show the description while the block runs, then its result and how long it took.

        The block sets the result by calling the yielded function; the default is the description.
        """
        result = description

        def set_result(text: str) -> None:
            nonlocal result
            result = text

        start = time.monotonic()
        with self.console.status(f"{description} …"):
            yield set_result
        self.console.print(f"[green]✓[/] {result} [dim]({time.monotonic() - start:.1f} s)[/]")

    def print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)
