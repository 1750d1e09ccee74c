"""What a caller may do, and the words that requests and keys use for it. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DEFAULT_SCOPES", "Scope", "known_scopes"]


class Scope(StrEnum):
    """`admin` makes an operator: it opens /admin over all tenants and nothing else."""

    PREDICTIONS_READ = "predictions:read"
    PREDICTIONS_WRITE = "predictions:write"
    FILES_WRITE = "files:write"
    ADMIN = "admin"


DEFAULT_SCOPES = frozenset({Scope.PREDICTIONS_READ, Scope.PREDICTIONS_WRITE, Scope.FILES_WRITE})


def known_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Those words that are scopes of ours; a token may carry others, which grant nothing."""
    return frozenset(Scope(word) for word in words if word in Scope)
