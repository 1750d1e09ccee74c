"""python -m tools.chaos: the command behind `make chaos`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.chaos.run import Options, run
from tools.local.errors import LocalError
from tools.local.paths import ROOT, StackFolder
from tools.local.screen import Screen


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 every bar is met, 1 one is missed or it could not be told, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="chaos", help="the stack; it begins empty and is taken down")
    parser.add_argument("--keep", action="store_true", help="leave the stack running, to look into it")
    parser.add_argument("--report", type=Path, default=ROOT / "tools/bench/chaos.json")
    given = parser.parse_args(arguments)
    options = Options(jobs=given.jobs, seed=given.seed, keep=given.keep, report=given.report)
    try:
        return 0 if run(StackFolder(given.name), options, Screen()).met else 1
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command line's error
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
