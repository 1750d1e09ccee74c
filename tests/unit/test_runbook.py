"""Every entry of the runbook leads to a page of the console or a command of proxyctl that exists.

tests/unit/test_page_examples.py parses the commands.
"""

from __future__ import annotations

import re
from unittest.mock import MagicMock

import pytest

from replicate_proxy.console.routes import build_console_router
from tests.support.runbook import RUNBOOK_PAGE, find_console_names, list_entries
from tools.local.paths import ROOT

CONSOLE = ROOT / "functions/console"
_NAVIGATION = re.compile(r"\('([^']*)', '(\w+)'\)")
_TEXT = re.compile(r">(\w(?:[^<>{}%]|\{\{[^{}]+\}\})+)<")
_VALUE = re.compile(r"\\\{\\\{.*?\\\}\\\}")


def read_navigation() -> dict[str, str]:
    """Return the paths of the pages that the navigation has, by name."""
    layout = (CONSOLE / "templates/layout.html").read_text(encoding="utf-8")
    return {
        name: path
        for line in layout.splitlines()
        if "set nav_entries" in line
        for path, name in _NAVIGATION.findall(line)
    }


def compile_labels() -> re.Pattern[str]:
    """Return what matches the buttons and links of the console; an ellipsis says that more is asked for."""
    texts = {
        _VALUE.sub(".+", re.escape(text.strip().rstrip("…")))
        for template in (CONSOLE / "templates").glob("*.html")
        for text in _TEXT.findall(template.read_text(encoding="utf-8"))
    }
    return re.compile("|".join(sorted(texts)))


ENTRIES = list_entries()
PAGES = read_navigation()


def test_all_alarms_and_problems_are_entries() -> None:
    assert {"SweepStoppedAlarm", "StorageAlarm", "Replicate is failing", "Replay events of the bus"} <= set(
        ENTRIES
    )
    assert len(ENTRIES) > 40


@pytest.mark.parametrize("entry", ENTRIES)
def test_entry_leads_to_a_page_or_a_command(entry: str) -> None:
    text = ENTRIES[entry]

    assert set(find_console_names(text)) & set(PAGES) or re.search(r"(?:^|`)proxyctl \w", text, re.MULTILINE)


@pytest.mark.parametrize("page", [RUNBOOK_PAGE, "docs/console.md"])
def test_every_page_and_button_that_is_named_exists(page: str) -> None:
    router = build_console_router(CONSOLE, MagicMock(images_url="https://images.example"), MagicMock())
    names = set(find_console_names((ROOT / page).read_text(encoding="utf-8")))

    assert names & set(PAGES)
    assert [
        name for name in names & set(PAGES) if ("GET", f"/console{PAGES[name]}") not in router.routes
    ] == []
    labels = compile_labels()
    assert [name for name in names - set(PAGES) if not labels.fullmatch(name)] == []
