from io import StringIO

import pytest
from rich.console import Console

from tools.local.screen import Screen

COLUMNS = ("server", "PID", "address")
ROWS = [("ministack", "[red]-[/]", "http://127.0.0.1:4566"), ("replicate", "12", "")]


def print_table(width: int) -> list[str]:
    output = StringIO()
    Screen(Console(file=output, width=width)).print_table("Servers", COLUMNS, ROWS)
    return [line.strip() for line in output.getvalue().splitlines()]


def test_pipe_has_the_width_of_columns_if_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert Screen().console.width > 100
    monkeypatch.setenv("COLUMNS", "40")
    assert Screen().console.width == 40


def test_wide_terminal_shows_a_table() -> None:
    lines = print_table(80)

    assert any("server" in line and "PID" in line and "address" in line for line in lines)
    assert any("ministack" in line and "http://127.0.0.1:4566" in line for line in lines)


def test_narrow_terminal_shows_a_list_without_empty_cells() -> None:
    assert print_table(40) == [
        "Servers",
        "ministack",
        "PID: -",
        "address: http://127.0.0.1:4566",
        "replicate",
        "PID: 12",
    ]
