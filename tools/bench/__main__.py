"""Run every benchmark, or the named ones (`.venv/bin/python -m tools.bench imports`)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tools.bench import console, costs, deliveries, growth, images, imports, pipeline, streams, warm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BENCHMARKS: Mapping[str, Callable[[], int]] = {
    "imports": imports.main,
    "warm": warm.main,
    "pipeline": pipeline.main,
    "streams": streams.main,
    "deliveries": deliveries.main,
    "console": console.main,
    "costs": costs.main,
    "growth": growth.main,
    "images": images.main,
}


def main(names: list[str]) -> int:
    """Return the highest exit code of the benchmarks, or 2 if a name is unknown."""
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        print(f"unknown benchmark: {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}")
        return 2
    return max(BENCHMARKS[name]() for name in names or BENCHMARKS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
