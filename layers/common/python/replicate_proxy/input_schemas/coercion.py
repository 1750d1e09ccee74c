"""Read an input as leniently as Replicate and Cog do, before it is compared with the rules. No I/O.

Published predictions of the same version have `"512"` for an integer and null for an optional field
(npm all-the-public-replicate-models 1.352.0), and Cog's pydantic models convert numbers, texts and booleans
into each other. What is unclear passes: Replicate then decides.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.input_schemas.rules import Rules

# What pydantic reads as a boolean (pydantic documentation, Standard Library Types, Booleans).
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), False),
}
# More digits than any number of an input; int() takes quadratic time.
_MAX_NUMBER_CHARACTERS = 40


def coerce_input(model_input: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """Return the input as it is compared: converted values, and no optional fields that are null."""
    properties, required = rules["properties"], rules.get("required", ())
    return {
        name: coerce(value, properties[name]) if name in properties else value
        for name, value in model_input.items()
        if value is not None or name in required
    }


def coerce(value: Any, rules: Rules) -> Any:
    """Return the value as what the rules expect, if it can be read as that."""
    if isinstance(value, list):
        return [coerce(item, rules["items"]) for item in value] if "items" in rules else value
    if isinstance(value, dict) or value is None:
        return value
    if (enum := _find(rules, "enum")) is not None:
        return next((member for member in enum if _is_alike(member, value)), value)
    expected = _find(rules, "type")
    return value if isinstance(expected, list) else _convert(value, expected)


def _convert(value: str | float | bool, expected: str | None) -> Any:
    if expected in ("integer", "number"):
        if isinstance(value, str):
            return parse_number(value)
        return int(value) if isinstance(value, bool) else value
    if expected == "boolean" and not isinstance(value, bool):
        return _BOOLEANS.get(str(value).strip().lower(), value)
    return str(value) if expected == "string" else value


def _is_alike(member: Any, value: Any) -> bool:
    if isinstance(member, bool) or isinstance(value, bool):
        return member is value or str(member).lower() == str(value).lower()
    return bool(member == value) or str(member) == str(value)


def parse_number(text: str) -> str | float:
    """Return the number, or the text if it is none."""
    if len(text) > _MAX_NUMBER_CHARACTERS:
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number


def _find(rules: Rules, keyword: str) -> Any:
    """Return the value of a keyword, which Cog puts into `allOf` for choices."""
    if keyword in rules:
        return rules[keyword]
    parts = (_find(part, keyword) for part in rules.get("allOf", ()))
    return next((found for found in parts if found is not None), None)
