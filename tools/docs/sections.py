"""Sections of pages that a tool writes: what is between two comments. The prose around them is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


MAX_COLUMNS = 100
"""Of a line of a page that is not a table."""


def replace_sections(text: str, sections: Mapping[str, str]) -> str:
    """Return the page with new contents between `<!-- NAME: generated … -->` and `<!-- end of NAME -->`.

    Raises ValueError if a comment is missing.
    """
    for name, content in sections.items():
        head, begin, rest = text.partition(f"<!-- {name}: generated")
        comment, closing, _ = rest.partition("-->\n")
        _, end, tail = rest.partition(f"<!-- end of {name} -->")
        if not (begin and closing and end):
            raise ValueError(
                f"the page has no section {name}: add <!-- {name}: generated -->, <!-- end of {name} -->"
            )
        text = f"{head}{begin}{comment}{closing}\n{content.strip()}\n\n{end}{tail}"
    return text


def render_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
