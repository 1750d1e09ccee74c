"""The entries of the runbook in docs/operations.md, and the parts of the console that it names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tools.local.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNBOOK_PAGE = "docs/operations.md"
_ALARM_ROW = re.compile(r"^\| `(\w+Alarm)` \|.*\|(.*)\|$", re.MULTILINE)
_PROBLEM = re.compile(r"^### (.+)\n((?:(?!^##).*\n)*)", re.MULTILINE)
_ITALICS = re.compile(r"(?<![*\w])\*([A-Z][^*\n]*)\*(?!\*)")


def list_entries() -> Mapping[str, str]:
    """Return what to do about each alarm and each problem, by its name."""
    text = (ROOT / RUNBOOK_PAGE).read_text(encoding="utf-8")
    runbook = text.partition("\n## Runbook\n")[2].partition("\n## ")[0]
    return dict(_ALARM_ROW.findall(text)) | dict(_PROBLEM.findall(f"{runbook}\n"))


def find_console_names(text: str) -> list[str]:
    """Return the words in italics that start with a capital letter: pages and buttons of the console."""
    return _ITALICS.findall(re.sub(r"\n *", " ", text))
