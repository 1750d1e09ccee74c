"""The keys of budget windows, which ingest reserves in and usage settles in. No I/O."""

from __future__ import annotations


def window_key(tenant: str, name: str) -> dict[str, str]:
    """Return the key of the item of a window."""
    return {"pk": f"BUDGET#{tenant}", "sk": name}
