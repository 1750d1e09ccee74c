"""What a command shows while it runs: a spinner on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import render
from rich.table import Table

from proxyctl.output import PipedConsole

_WIDTH_WITHOUT_TERMINAL = 150
_MIN_TABLE_WIDTH = 70
"""On a narrower terminal, a table would break its cells into fragments."""


class Screen:
    """Prints texts, tables, and the steps of a command with their durations."""

    def __init__(self, console: Console | None = None) -> None:
        has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
        width = None if has_width else _WIDTH_WITHOUT_TERMINAL
        self.console = console or PipedConsole(highlight=False, width=width)

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
        self.console.print(f"[green]✓[/] {result} [dim]({time.monotonic() - start:.1f} s)[/]", soft_wrap=True)

    def print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True)

    def print_table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table, or on a narrow terminal a list: each row as its first cell and the others below."""
        if self.console.width >= _MIN_TABLE_WIDTH:
            table = Table(*columns, title=title, title_justify="left")
            for row in rows:
                table.add_row(*row)
            self.console.print(table)
            return
        self.print(f"[italic]{title}[/]")
        for first, *others in rows:
            self.print(f"[bold]{first}[/]")
            for column, cell in zip(columns[1:], others, strict=True):
                if render(cell).plain.strip():
                    self.print(f"  [dim]{column}:[/] {cell.strip()}")
