"""What the commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH_WITHOUT_TERMINAL = 180
# A UUID, the longest ID that a command takes.
_MAX_ID_CHARACTERS = 36
_UNESCAPED_CONTROLS = re.compile(r"[\x7f-\x9f]")


class PipedConsole(Console):
    """A console that lets the caller handle the end of the pipe's reader; rich would end the process."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        raise BrokenPipeError


def create_console() -> Console:
    """Return a console for the present stdout; without a terminal, tables are wide."""
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return PipedConsole(highlight=False, width=None if has_width else _WIDTH_WITHOUT_TERMINAL)


def print_json(value: Any) -> None:
    sys.stdout.write(format_json(value) + "\n")


def format_json(value: Any) -> str:
    """Return JSON to print, without the control characters that JSON does not escape, as `clean` says."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _UNESCAPED_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the rows with these columns: names of their fields, with dots for fields of fields."""
    if not rows:
        print_line("none")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    cells = [[format_value(_find(row, column)) for column in columns] for row in rows]
    for column, texts in zip(columns, zip(*cells, strict=True), strict=True):
        # An ID that is cut, or in two lines, cannot be copied.
        min_width = min(max(map(len, texts)), _MAX_ID_CHARACTERS) if _is_id(column) else None
        table.add_column(_title(column), overflow="fold", min_width=min_width)
    for row_cells in cells:
        table.add_row(*map(Text, row_cells))
    create_console().print(table, crop=False)  # the terminal wraps lines that are too long


def print_fields(value: Mapping[str, Any]) -> None:
    """Print an object as one line for each field."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, field in value.items():
        table.add_row(_title(name), Text(format_value(field)))
    create_console().print(table)


def print_line(text: str) -> None:
    """Print a text in one line, whatever the width of the terminal."""
    create_console().print(Text(clean(text)), soft_wrap=True)


def print_markup(markup: str) -> None:
    """Print a line of rich markup, whatever the width of the terminal."""
    create_console().print(clean(markup), soft_wrap=True)


def format_value(value: Any) -> str:
    """Return a value of JSON as the text of a table's cell."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return clean(", ".join(value)) or "-"
    if isinstance(value, dict | list):
        return clean(json.dumps(value, ensure_ascii=False)) if value else "-"
    return clean(str(value))


def clean(text: str) -> str:
    """Replace control characters: names and errors of tenants could be commands for the terminal."""
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)


def _title(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _is_id(column: str) -> bool:
    return column == "id" or column.endswith("_id")


def _find(row: Mapping[str, Any], column: str) -> Any:
    value: Any = row
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
