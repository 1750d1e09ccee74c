"""The commands in the pages have the form in which they run; tests/integration runs the examples."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.page_examples import NOT_RUN, list_examples, list_pages
from tools.local.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# Blocks in other languages are neither shell, Python nor JavaScript; a block without one is not code.
KNOWN_LANGUAGES = {"", "sh", "python", "js", "json", "yaml", "toml", "mermaid"}
_MODULE = re.compile(r"([^\s`(]*)python3? -m (?:tools|replicate_proxy)\b")
_COMMAND_WITHOUT_LANGUAGE = re.compile(r"^\s*(?:curl|python|\.venv|sam|aws|npm|export) ", re.MULTILINE)


def test_every_exception_is_an_example_of_a_page() -> None:
    existing = {example.key for example in list_examples("sh", "python", "js")}

    assert set(NOT_RUN) - existing == set()


@pytest.mark.parametrize("page", list_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_the_python_that_has_the_packages(page: Path) -> None:
    prefixes = _MODULE.findall(page.read_text(encoding="utf-8"))

    assert set(prefixes) <= {".venv/bin/"}


def test_every_block_has_a_known_language() -> None:
    blocks = list_examples(*KNOWN_LANGUAGES)
    fences = sum(len(re.findall(r"^ *```", page.read_text("utf-8"), re.MULTILINE)) for page in list_pages())

    assert len(blocks) * 2 == fences
    assert [str(block) for block in list_examples("") if _COMMAND_WITHOUT_LANGUAGE.search(block.code)] == []


def test_sam_is_on_the_path_wherever_a_page_runs_it() -> None:
    pages = {
        example.page for example in list_examples("sh") if re.search(r"^sam ", example.code, re.MULTILINE)
    }

    assert pages
    for page in pages:
        before, _, _ = (ROOT / page).read_text("utf-8").partition("\nsam ")
        assert 'export PATH="$PWD/.venvs/sam/bin:$PATH"' in before, page
