"""`make tune`: measure the functions at several sizes; then `tools.handlers.plot` draws the curves."""

from __future__ import annotations

import sys

from tools.handlers import tune
from tools.local.errors import LocalError
from tools.local.invoke.samples import MAIN_SAMPLES


def main(functions: list[str]) -> int:
    """Return 0, or 1 if it cannot be measured, or 2 if a function is unknown."""
    unknown = sorted(set(functions) - set(MAIN_SAMPLES))
    if unknown:
        print(f"no function {', '.join(unknown)}; the functions are {', '.join(MAIN_SAMPLES)}")
        return 2
    try:
        return tune.main(functions)
    except LocalError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
