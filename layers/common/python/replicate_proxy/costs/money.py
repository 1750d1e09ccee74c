"""Amounts of money as text. Sums are kept as whole millionths of a US dollar, never as floats."""

from __future__ import annotations

from decimal import Decimal

MICRO_PER_USD = 1_000_000


def format_usd(micro_usd: int) -> str:
    """Return an amount in US dollars with six decimals, such as `0.003000`."""
    sign = "-" if micro_usd < 0 else ""
    dollars, micro = divmod(abs(micro_usd), MICRO_PER_USD)
    return f"{sign}{dollars}.{micro:06d}"


def parse_usd(text: str) -> int:
    """Return an amount in US dollars with at most six decimals, such as `5` or `0.05`, in millionths."""
    return int(Decimal(text) * MICRO_PER_USD)
