"""The commands in the pages have the form in which they run; tests/integration runs the examples."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click
import pytest

from proxyctl.app import App
from proxyctl.cli import cli
from tests.support.page_examples import NOT_RUN, list_commands, list_examples, list_pages
from tools.local.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# Blocks in other languages are neither shell, Python nor JavaScript; a block without one is not code.
KNOWN_LANGUAGES = {"", "sh", "python", "js", "json", "yaml", "toml", "mermaid"}
_MODULE = re.compile(r"([^\s`(]*)python3? -m (?:tools|replicate_proxy)\b")
# A value that the reader has to choose.
_PLACEHOLDER = re.compile(r"<\w+>")
_FILE = re.compile(r"(?<= )/tmp/\S+")
_REDIRECTION = re.compile(r" > \S+$")
_ANY_COMMAND = {"COMMAND", "…"}
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


@pytest.mark.parametrize("page", list_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_proxyctl_have_valid_arguments(page: Path) -> None:
    invalid = {}
    for command in list_commands("proxyctl", page):
        text = _FILE.sub("-", _PLACEHOLDER.sub("value", _REDIRECTION.sub("", command)))
        _, *arguments = shlex.split(text, comments=True)
        try:
            parse_arguments([argument for argument in arguments if argument not in _ANY_COMMAND])
        except (click.exceptions.NoArgsIsHelpError, click.exceptions.Exit):
            # A group of commands, or --help.
            continue
        except click.ClickException as error:
            invalid[command] = error.format_message()

    assert invalid == {}


def test_invalid_arguments_of_proxyctl_are_found() -> None:
    for arguments in (["job", "list"], ["jobs", "list", "--age", "5"], ["jobs", "retry"]):
        with pytest.raises(click.ClickException):
            parse_arguments(arguments)


def parse_arguments(arguments: list[str]) -> None:
    """Parse a command of proxyctl without running it. Raises click.ClickException."""
    context = cli.make_context("proxyctl", arguments, obj=App())
    command: click.Command = cli
    while isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)
