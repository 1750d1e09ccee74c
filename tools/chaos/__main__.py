"""Run the chaos test: `.venv/bin/python -m tools.chaos`, the command behind `make chaos`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from proxyctl.terminal import run_tool
from tools.chaos.run import RunOptions, run_chaos
from tools.local.errors import LocalError
from tools.local.paths import ROOT, StackFolder
from tools.local.screen import Screen


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 if every criterion is met, 1 if not or on an error, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog=".venv/bin/python -m tools.chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="chaos", help="name of the stack, which starts empty")
    parser.add_argument("--keep", action="store_true", help="leave the stack running afterwards")
    parser.add_argument("--report", type=Path, default=ROOT / "tools/bench/chaos.json")
    parsed = parser.parse_args(arguments)
    options = RunOptions(
        job_count=parsed.jobs, seed=parsed.seed, keep_running=parsed.keep, report_file=parsed.report
    )
    try:
        return 0 if run_chaos(StackFolder(parsed.name), options, Screen()).passed else 1
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the error output of a command
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run_tool(main))
