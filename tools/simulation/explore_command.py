"""The command line of explorations: `explore`, and `replay --scenario`."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from tools.simulation.explore import Budget, Exploration, explore, run_scenario
from tools.simulation.run import START
from tools.simulation.scenarios import SCENARIOS

if TYPE_CHECKING:
    import argparse


def add_options(explore_parser: argparse.ArgumentParser) -> None:
    """Add the options of `explore`."""
    budget = Budget()
    explore_parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="default: all")
    for name, text in (
        ("preemptions", "how often others run first, for each run"),
        ("crashes", "how many processes end, for each run"),
        ("faults", "lost responses, lost webhooks and the like, for each run"),
    ):
        explore_parser.add_argument(f"--{name}", type=int, default=getattr(budget, name), help=text)
    explore_parser.add_argument(
        "--choices", type=int, help="all of these together, for each run (default: as the scenario says)"
    )
    explore_parser.add_argument("--minutes", type=float, help="stop after this time")
    explore_parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)


def run_explorations(options: argparse.Namespace) -> int:
    """Explore scenarios side by side. Return 1 if a guarantee was broken, else 0."""
    names = list(dict.fromkeys(options.scenario or SCENARIOS))
    workers = min(options.workers, len(names))
    # Each worker takes one scenario after the other, each of which gets its share of the time.
    max_seconds = options.minutes * 60 * workers / len(names) if options.minutes else None
    budgets = [
        Budget(
            options.preemptions,
            options.crashes,
            options.faults,
            SCENARIOS[name].choices if options.choices is None else options.choices,
        )
        for name in names
    ]
    run = partial(explore, max_seconds=max_seconds)
    violations = runs = states = 0
    unfinished = []
    with ProcessPoolExecutor(workers) as pool:
        for exploration in pool.map(run, names, budgets):
            _print_exploration(exploration)
            violations += len(exploration.violations)
            runs += exploration.runs
            states += exploration.states
            if not exploration.is_finished:
                unfinished.append(exploration.scenario)
    bound = f"{options.preemptions} preemptions, {options.crashes} crashes and {options.faults} other faults"
    sys.stdout.write(f"{runs:,} runs, {states:,} states\n")
    sys.stdout.write(
        f"NOT finished within {options.minutes:g} minutes: {', '.join(unfinished)}\n"
        if unfinished
        else f"finished: every interleaving within the choices of each, with up to {bound}\n"
    )
    return 1 if violations else 0


def _print_exploration(exploration: Exploration) -> None:
    depth = exploration.completed_depth
    scope = (
        f"{'finished' if exploration.is_finished else 'NOT finished'}: all runs with up to {depth} choices"
    )
    name = exploration.scenario
    figures = f"{exploration.runs:>9,} runs {exploration.states:>10,} states {exploration.seconds:>7.0f} s"
    lines = [f"{name:<16} {figures}  {scope}  ({SCENARIOS[name].description})"]
    for guarantee, found in exploration.violations.items():
        runs = exploration.violating_runs[guarantee]
        lines.append(f"VIOLATION in {runs} runs: {guarantee}: {found.violation.detail}")
        script = json.dumps(dict(found.script))
        lines.append(f"  python -m tools.simulation replay --scenario {name} --script '{script}'")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def replay_scenario(options: argparse.Namespace) -> int:
    """Run a scenario with a script and show its trace. Return 1 if a guarantee was broken, else 0."""
    run = run_scenario(options.scenario, options.script or {}, keeps_steps=True)
    lines = [run.trace.format(start=START, last=options.last)]
    if run.violation is None:
        lines.append("every guarantee held")
    else:
        at = run.violation.at - START
        lines.append(f"VIOLATION at {at:.3f} s: {run.violation.guarantee}: {run.violation.detail}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if run.violation else 0
