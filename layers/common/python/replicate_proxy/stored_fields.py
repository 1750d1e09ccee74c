"""Reading what another version of the code has stored."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance


def build_from_stored[T: DataclassInstance](
    dataclass_type: type[T], stored: Mapping[str, Any], **parsed: Any
) -> T:
    """Return the dataclass with the values that are stored, or with those that were parsed from them.

    Values for which it has no field are ignored: a later version may have written them, before it was rolled
    back or while traffic still moves to it.
    """
    known = {field.name: stored[field.name] for field in fields(dataclass_type) if field.name in stored}
    return dataclass_type(**{**known, **parsed})
