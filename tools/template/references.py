"""Replace the references within a template's values by what they stand for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PLACEHOLDER = re.compile(r"\$\{([^}]+)\}")


class ReferenceResolver:
    """Resolves Ref, Fn::GetAtt, Fn::Sub, and Fn::Select from Fn::Split, at any depth.

    `look_up(logical_id, attribute)` returns what a reference stands for; the attribute of a Ref is "Ref".
    `convert_text` is applied to all texts of the template itself.
    """

    def __init__(
        self, look_up: Callable[[str, str], str], convert_text: Callable[[str], str] = lambda text: text
    ) -> None:
        self._look_up = look_up
        self._convert_text = convert_text

    def resolve(self, value: Any) -> Any:
        """Return the value with all of its references resolved."""
        match value:
            case {"Ref": str(name)}:
                resolved: Any = self._look_up(name, "Ref")
            case {"Fn::GetAtt": [str(name), str(attribute)]}:
                resolved = self._look_up(name, attribute)
            case {"Fn::Sub": [str(text), dict(names)]}:
                resolved = self._substitute(text, {name: self.resolve(part) for name, part in names.items()})
            case {"Fn::Sub": str(text)}:
                resolved = self._substitute(text, {})
            case {"Fn::Select": [index, {"Fn::Split": [str(separator), text]}]}:
                resolved = str(self.resolve(text)).split(separator)[int(index)]
            case dict():
                resolved = {name: self.resolve(part) for name, part in value.items()}
            case list():
                resolved = [self.resolve(part) for part in value]
            case str():
                resolved = self._convert_text(value)
            case _:
                resolved = value
        return resolved

    def _substitute(self, text: str, names: Mapping[str, Any]) -> str:
        def replace(match: re.Match[str]) -> str:
            name, _, attribute = match[1].partition(".")
            return str(names[name]) if name in names else self._look_up(name, attribute or "Ref")

        return self._convert_text(_PLACEHOLDER.sub(replace, text))
