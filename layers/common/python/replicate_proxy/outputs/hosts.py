"""Which hosts files are fetched from. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DEFAULT_HOSTS", "HostList"]

# Replicate's OpenAPI document: output files lie on replicate.delivery and its subdomains.
DEFAULT_HOSTS = ("replicate.delivery", "*.replicate.delivery")


class HostList:
    """Exact names, `*.name` for every subdomain of it (not itself), `*` for all. Called with a lower-case
    host.

    A subdomain is told by its dot: `evilreplicate.delivery` is none of replicate.delivery's.
    """

    def __init__(self, patterns: Iterable[str] = DEFAULT_HOSTS) -> None:
        cleaned = [pattern.strip().lower().removesuffix(".") for pattern in patterns if pattern.strip()]
        self._any = "*" in cleaned
        self._names = frozenset(pattern for pattern in cleaned if not pattern.startswith("*"))
        self._suffixes = tuple(pattern[1:] for pattern in cleaned if pattern.startswith("*."))

    def __call__(self, host: str) -> bool:
        host = host.lower().removesuffix(".")
        return self._any or host in self._names or host.endswith(self._suffixes)
