"""Run benchmarks and store or compare their results; see `make bench` and `make bench-compare`.

Without names, all parts are run. A part is stored once all of its repeats are complete.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bench import console, costs, deliveries, growth, images, imports, peers, pipeline, streams, warm
from tools.bench.compare import has_missed_target, render_comparison
from tools.bench.machine import describe_machine, get_load, measure_loop_seconds
from tools.bench.results import JOURNAL_VARIABLE
from tools.bench.stored_run import RESULTS_FILE, Part, StoredRun, merge_repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
    "peers": peers.main,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0, or 1 if a part failed or a target is missed that the stored run met."""
    options = _parse(arguments)
    if not options.compare:
        stored = StoredRun.load(options.output)
        for name in options.parts:
            stored = stored.replace_part(name, run_part(name, BENCHMARKS[name], options.repeats))
            stored.save(options.output)
        return 0
    stored = StoredRun.load()
    if options.new:
        run = StoredRun.load(options.new)
        new = StoredRun({name: part for name, part in run.parts.items() if name in options.parts})
    else:
        benchmarks = {name: BENCHMARKS[name] for name in options.parts}
        new = StoredRun({name: run_part(name, run, options.repeats) for name, run in benchmarks.items()})
    print(*render_comparison(new, stored), sep="\n")
    return 1 if has_missed_target(new, stored) else 0


def run_part(name: str, benchmark: Callable[[], int], repeats: int) -> Part:
    """Run a part several times. Raises SystemExit if it fails."""
    started_at, commit, load, journals = datetime.now(UTC), _get_commit(), get_load(), []
    loop_seconds = measure_loop_seconds()
    for number in range(1, repeats + 1):
        print(f"{name}, repeat {number} of {repeats}" if repeats > 1 else name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            journal = Path(folder) / "journal"
            journal.touch()
            os.environ[JOURNAL_VARIABLE] = str(journal)
            try:
                code = benchmark()
            finally:
                del os.environ[JOURNAL_VARIABLE]
            lines = journal.read_text(encoding="utf-8").splitlines()
        if code != 0:
            raise SystemExit(f"the benchmark {name} failed with {code}; its stored results are unchanged")
        journals.append([json.loads(line) for line in lines])
    return Part(
        date=started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        commit=commit,
        machine=describe_machine(),
        load=load,
        loop_seconds=loop_seconds,
        **merge_repeats(journals),
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(BENCHMARKS))
    parser.add_argument("--repeats", type=int, default=1, help="the median of so many runs is the result")
    parser.add_argument("--output", type=Path, default=RESULTS_FILE, help="the run to store the parts in")
    parser.add_argument("--compare", action="store_true", help="compare with the stored run, store nothing")
    parser.add_argument("--new", type=Path, help="with --compare: the run to compare, instead of running")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.parts) - set(BENCHMARKS)):
        parser.error(f"unknown part: {', '.join(unknown)}; choose from {', '.join(BENCHMARKS)}")
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    if options.new and not options.compare:
        parser.error("--new needs --compare")
    if options.new and not options.new.exists():
        parser.error(f"{options.new} does not exist; write one with --output")
    options.parts = options.parts or list(BENCHMARKS)
    return options


def _get_commit() -> str:
    """Return the commit, with a `+` if tracked files differ from it."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    return finished.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
