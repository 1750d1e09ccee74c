"""Run every part, or those named (`python -m tools.bench imports`), into tools/bench/results.json."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tools.bench import costs, deliveries, images, imports, pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PARTS: Mapping[str, Callable[[], int]] = {
    "imports": imports.main,
    "pipeline": pipeline.main,
    "deliveries": deliveries.main,
    "costs": costs.main,
    "images": images.main,
}


def main(names: list[str]) -> int:
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        print(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
        return 2
    return max(PARTS[name]() for name in names or PARTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
