"""Reading what another version of the code has stored."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance


def select_known_fields(dataclass_type: type[DataclassInstance], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values for which the dataclass has a field.

    A later version may have written others, before it was rolled back or while traffic still moves to it.
    """
    return {field.name: stored[field.name] for field in fields(dataclass_type) if field.name in stored}
