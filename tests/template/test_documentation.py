"""The pages for operators agree with the template and the code, and links between pages are valid."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from cfn_flip import load_yaml

from replicate_proxy.jobs.model import EndReason
from replicate_proxy.observability import Metric
from tests.template.variants import load_variant
from tools.release.target import MAX_STACK_NAME_LENGTH
from tools.template.stack import MAIN, ROOT, STACK_NAME, load_stack

if TYPE_CHECKING:
    from pathlib import Path

PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "events/*.md", "tools/*/README.md")
    for path in sorted(ROOT.glob(pattern))
]
_CODE_BLOCK = re.compile(r"^\s*```.*?^\s*```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def read_page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def find_anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = _HEADING.findall(_CODE_BLOCK.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_deploying_lists_every_parameter_with_its_default() -> None:
    parameters = load_yaml((ROOT / MAIN).read_text(encoding="utf-8"))["Parameters"]
    defaults = {
        name: f"`{parameter['Default']}`" if parameter["Default"] != "" else "empty"
        for name, parameter in parameters.items()
    }
    listed = re.findall(r"^\| `(\w+)` \| (`[^`]*`|empty) \|", read_page("deploying.md"), re.MULTILINE)

    assert dict(listed) == defaults
    assert len(listed) == len(defaults)


def test_deploying_says_what_a_release_prints() -> None:
    text = " ".join(read_page("deploying.md").split()).lower()
    source = (ROOT / "tools/release/validation.py").read_text(encoding="utf-8")
    expectations = re.findall(r'_run_check\(\s*"([^"]+)"', source)

    assert len(expectations) > 5
    assert [line for line in expectations if line.lower() not in text] == []
    for line in ("is deployed and valid", "is deployed again and valid"):
        assert line in text


def test_deploying_states_the_longest_stack_name() -> None:
    assert f"a stack name may have {MAX_STACK_NAME_LENGTH} characters at most" in read_page("deploying.md")


def test_operations_lists_every_metric() -> None:
    page = read_page("operations.md")

    assert [metric for metric in Metric if f"`{metric}`" not in page] == []


def test_operations_has_one_row_for_every_alarm() -> None:
    rows = re.findall(r"^\| `(\w+Alarm)` \|", read_page("operations.md"), re.MULTILINE)

    assert sorted(rows) == sorted(
        alarm.id for alarm in load_variant("everything").of_type("CloudWatch::Alarm")
    )


def test_operations_lists_every_reason_of_an_end() -> None:
    section = read_page("operations.md").partition("### Reasons of ends")[2].partition("## ")[0]

    reasons = re.findall(r"^\|[^|]*\| `(\w+)` \| ", section, re.MULTILINE)
    assert set(reasons) - {"reason"} == set(EndReason)


def test_operations_never_advises_to_discard_messages_of_rejected_token() -> None:
    """They are jobs that were accepted, and runs that repair what stalled: all of them can be redriven."""
    page = read_page("operations.md")
    (runbook,) = re.findall(r"### Replicate rejects the API token\n(.*?)\n### ", page, re.DOTALL)
    rows = [line for line in page.splitlines() if line.startswith("|") and "Alarm` |" in line]

    assert "redrive" in runbook
    assert [text for text in (runbook, *rows) if "discard" in text] == []


def test_operations_lists_every_dead_letter_queue() -> None:
    page = read_page("operations.md")
    names = {queue.properties["QueueName"] for queue in load_stack().of_type("SQS::Queue")}
    dead_letter_queues = {name for name in names if name.endswith("-dead-letters")}

    assert dead_letter_queues
    assert {name for name in dead_letter_queues if name.replace(STACK_NAME, "`<stack>") not in page} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_existing_files_and_headings(page: Path) -> None:
    text = _CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for path, anchor in _LINK.findall(text):
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in find_anchors(target)):
            broken.append(f"{path}#{anchor}")

    assert broken == []


def test_security_lists_every_check_of_make_security() -> None:
    script = (ROOT / "tools" / "checks" / "security.sh").read_text(encoding="utf-8")
    checks = re.findall(r"^check ([\w-]+) ", script, re.MULTILINE)

    assert len(checks) > 8
    assert [name for name in checks if f"`{name}`" not in read_page("security.md")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_run_in_the_shells_of_macos(page: Path) -> None:
    """zsh splits no variable into words, and sets PATH with `path`; `date` there knows no -d."""
    commands = "".join(_CODE_BLOCK.findall(page.read_text(encoding="utf-8")))

    assert re.findall(r"for \w+ in \$\w+.*|for path in.*|date -d.*", commands) == []


def test_pages_are_wrapped_at_100_columns() -> None:
    """Tables, and lines without a space to break at, may be longer."""
    violations = []
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tools").rglob("*.md")]):
        if "node_modules" in page.parts:
            continue
        text = re.sub(
            r"^ *```.*?^ *```", _blank, page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
        )
        violations += [
            f"{page.relative_to(ROOT)}:{number}"
            for number, line in enumerate(text.splitlines(), start=1)
            if len(line) > 100 and not line.startswith(("|", "<!--", "#")) and " " in line[:100].strip()
        ]

    assert violations == []


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")
