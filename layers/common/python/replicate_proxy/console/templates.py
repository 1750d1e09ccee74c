"""The templates and files of the console: Jinja2 with autoescape, and names that contain a hash."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from replicate_proxy.console import formatting
from replicate_proxy.console.page_space import PageSpace

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file whose name changes with its content, so that browsers may keep it for ever."""

    name: str
    content_type: str
    text: str


class Templates:
    """Renders templates of a folder that has `templates` and `static`."""

    def __init__(self, folder: Path) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(folder / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        filters = {
            "duration": formatting.format_duration,
            "money": formatting.format_money,
            "usd_input": formatting.format_usd_input,
            "bytes": formatting.format_bytes,
            "number": formatting.format_number,
            "safe_url": formatting.find_safe_url,
        }
        self._environment.filters.update(filters)
        self._files = {file.name: file for file in map(_load_file, sorted((folder / "static").iterdir()))}
        self._names = {_remove_hash(name): name for name in self._files}

    def render(self, template: str, *, now: datetime, **values: Any) -> str:
        space = PageSpace()
        return self._environment.get_template(template).render(
            now=now,
            asset=self._names,
            ago=lambda value: formatting.format_moment(value, now),
            fit_json=space.fit_json,
            fit_text=space.fit_text,
            **values,
        )

    def find_file(self, name: str) -> StaticFile | None:
        return self._files.get(name)


def _load_file(path: Path) -> StaticFile:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]
    content_type = _CONTENT_TYPES.get(path.suffix, "text/plain; charset=utf-8")
    return StaticFile(f"{path.stem}.{digest}{path.suffix}", content_type, data.decode())


def _remove_hash(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return f"{stem.rpartition('.')[0]}.{suffix}"
