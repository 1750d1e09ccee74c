"""What `make tune` has measured, in a file of this machine, from which `tools.handlers.plot` draws."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEASUREMENTS_FILE = Path(__file__).parents[1] / "bench/tune.json"


@dataclass(frozen=True, slots=True)
class SizeMeasurement:
    """A function at one size. `price` is for a million invocations, in dollars."""

    size_mb: int
    warm_ms: float
    cold_ms: float
    used_mb: float
    price: float


@dataclass(frozen=True, slots=True)
class FunctionMeasurements:
    """A function at all sizes, the smallest first, and the one that is worth its price."""

    best_mb: int
    sizes: tuple[SizeMeasurement, ...]


def store_measurements(
    function: str, best_mb: int, sizes: Sequence[SizeMeasurement], file: Path = MEASUREMENTS_FILE
) -> None:
    """Replace what was measured of the function; the others stay."""
    stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    ordered = sorted(sizes, key=lambda entry: entry.size_mb)
    stored[function] = {"best_mb": best_mb, "sizes": [asdict(entry) for entry in ordered]}
    file.write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_measurements(file: Path = MEASUREMENTS_FILE) -> Mapping[str, FunctionMeasurements]:
    """Return what was measured, by function, in alphabetical order."""
    stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {
        function: FunctionMeasurements(
            values["best_mb"], tuple(SizeMeasurement(**entry) for entry in values["sizes"])
        )
        for function, values in sorted(stored.items())
    }
