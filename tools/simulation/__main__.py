"""`python -m tools.simulation run|replay|explore|mutants`: seeds, scenarios, or broken variants."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.costs.money import format_usd
from tools.simulation.campaign import Campaign, run_campaign
from tools.simulation.explore_command import add_options, replay_scenario, run_explorations
from tools.simulation.mutants.catalog import MUTANTS
from tools.simulation.mutants.hunt import hunt_by_number
from tools.simulation.run import START, RunResult, RunSettings, run_seed
from tools.simulation.scenarios import SCENARIOS
from tools.simulation.shrink import shrink

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.simulation.cost_invariants import Reconciliation
    from tools.simulation.invariants import Violation

_INVALID_SHARE = 0.15
_FALLBACK_SHARE = 0.3
_LIMITED_SHARE = 0.3
_OWN_ACCOUNT_SHARE = 0.3
_QUEUE_LIMIT_SHARE = 0.4
_DELETE_SHARE = 0.3
_RETRY_SHARE = 0.5
_BATCH_SHARE = 0.2
_PAUSE_SHARE = 0.25
_ERASURE_SHARE = 0.1
_BULK_SHARE = 0.1
_REDELIVERY_SHARE = 0.15
_HARVEST_SHARE = 0.15
_CHANGE_SHARE = 0.4
_PARAMETER_SHARE = 0.2
_REPLAY_SHARE = 0.1
_LATE_REDRIVE_SHARE = 0.1
_SEARCHES = 6
_PROGRESS_SECONDS = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if every guarantee held, 1 if one was broken."""
    parser = argparse.ArgumentParser(prog="python -m tools.simulation", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run many seeds on all cores")
    run.add_argument("--first-seed", type=int, default=1)
    run.add_argument("--seeds", type=int, help="how many seeds (default: as many as --minutes allows)")
    run.add_argument("--minutes", type=float, help="stop after this time")
    run.add_argument("--jobs", type=int, default=RunSettings().jobs, help="jobs of each seed")
    run.add_argument("--workers", type=int)
    run.add_argument("--storm", action="store_true", help="few kinds of faults, each very frequent")
    replay = commands.add_parser("replay", help="run one seed or scenario again and show its trace")
    replay.add_argument("seed", type=int, nargs="?")
    replay.add_argument("--scenario", choices=SCENARIOS, help="what to run instead of a seed")
    replay.add_argument("--jobs", type=int, default=RunSettings().jobs)
    replay.add_argument("--storm", action="store_true", help="as in the run with --storm")
    replay.add_argument("--shrink", action="store_true", help="leave out what is not needed to fail")
    replay.add_argument(
        "--script", type=_parse_script, help="JSON of the choices to make instead of drawing them"
    )
    replay.add_argument("--job", help="show only the steps that name this text")
    replay.add_argument("--last", type=int, default=200, help="how many steps to show")
    mutants = commands.add_parser("mutants", help="let the simulation catch broken variants of the code")
    mutants.add_argument("--seeds", type=int, default=200, help="give a mutant up after so many seeds")
    add_options(commands.add_parser("explore", help="run all interleavings of small scenarios"))
    options = parser.parse_args(arguments)
    if options.command == "explore":
        return run_explorations(options)
    if options.command == "replay" and options.scenario:
        return replay_scenario(options)
    if options.command == "replay" and options.seed is None:
        replay.error("name a seed or a --scenario")
    if options.command == "run":
        return _run(options)
    if options.command == "mutants":
        return _hunt_mutants(options)
    return _replay(options)


def _parse_script(text: str) -> Mapping[str, str]:
    """Return the choices by their keys. Raises ArgumentTypeError."""
    try:
        script = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"is not JSON: {error}") from error
    if not isinstance(script, dict) or not all(isinstance(choice, str) for choice in script.values()):
        raise argparse.ArgumentTypeError('must be an object of texts, as {"dispatch-3/5": "crash_after"}')
    return script


def _build_settings(options: argparse.Namespace) -> RunSettings:
    return RunSettings(
        jobs=options.jobs,
        fallback_share=_FALLBACK_SHARE,
        invalid_share=_INVALID_SHARE,
        limited_share=_LIMITED_SHARE,
        own_account_share=_OWN_ACCOUNT_SHARE,
        queue_limit_share=_QUEUE_LIMIT_SHARE,
        retry_share=_RETRY_SHARE,
        delete_share=_DELETE_SHARE,
        batch_share=_BATCH_SHARE,
        pause_share=_PAUSE_SHARE,
        erasure_share=_ERASURE_SHARE,
        bulk_share=_BULK_SHARE,
        redelivery_share=_REDELIVERY_SHARE,
        harvest_share=_HARVEST_SHARE,
        change_share=_CHANGE_SHARE,
        parameter_share=_PARAMETER_SHARE,
        replay_share=_REPLAY_SHARE,
        late_redrive_share=_LATE_REDRIVE_SHARE,
        searches=_SEARCHES,
        is_storm=options.storm,
    )


def _run(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    if options.seeds is None and options.minutes is None:
        options.seeds = 200
    campaign = run_campaign(
        first_seed=options.first_seed,
        max_seeds=options.seeds,
        max_seconds=options.minutes * 60 if options.minutes else None,
        settings=_build_settings(options),
        workers=options.workers,
        on_progress=_Progress(options).show,
    )
    _print_report(campaign, time.perf_counter() - started, options)
    return 1 if campaign.violations else 0


class _Progress:
    """Writes to stderr what has run, on one line of a terminal or once a minute to a file, and violations."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._is_terminal = sys.stderr.isatty()
        self._shown_violations: set[int] = set()
        self._shown_at = time.perf_counter()

    def show(self, campaign: Campaign) -> None:
        new = campaign.violations.keys() - self._shown_violations
        for seed in sorted(new):
            lines = _describe_violation(seed, campaign.violations[seed], self._options)
            sys.stderr.write("\n".join(("", *lines, "")))
        self._shown_violations |= new
        text = f"{campaign.seeds} seeds, {campaign.jobs} jobs, {len(campaign.violations)} violations "
        now = time.perf_counter()
        if self._is_terminal:
            sys.stderr.write(f"\r{text}")
        elif now - self._shown_at >= _PROGRESS_SECONDS:
            self._shown_at = now
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _describe_violation(seed: int, violation: Violation, options: argparse.Namespace) -> list[str]:
    storm = " --storm" if options.storm else ""
    return [
        f"VIOLATION seed {seed}: {violation.guarantee}: {violation.detail}",
        f"  python -m tools.simulation replay {seed} --jobs {options.jobs}{storm} --shrink",
    ]


def _print_report(campaign: Campaign, seconds: float, options: argparse.Namespace) -> None:
    usage = os.times()
    cpu_seconds = usage.user + usage.system + usage.children_user + usage.children_system
    cpu_per_job = f"{1000 * cpu_seconds / max(1, campaign.jobs):.1f} ms per job"
    lines = [
        "",
        f"{campaign.seeds} seeds, {campaign.jobs:,} jobs, {campaign.steps:,} steps in {seconds:.0f} s",
        f"{cpu_seconds:,.0f} s of processor time, {cpu_per_job}",
        f"{campaign.virtual_seconds / 86400:,.0f} days of virtual time",
        "statuses: " + _describe_counts(campaign.statuses),
        "past attempts: " + _describe_counts(campaign.past_attempts),
        "large batches: " + _describe_counts(campaign.large_batches),
        "reads: " + _describe_counts(campaign.reads),
        *_describe_money(campaign.money),
        "faults:",
        *(f"  {name:<36} {count:>9,}" for name, count in sorted(campaign.faults.items())),
        f"transitions seen: {len(campaign.transitions)}",
        *(f"  {before} → {after}" for before, after in sorted(campaign.transitions)),
        f"checkpoints passed: {len(campaign.checkpoints)}",
        *(f"  {name:<36} {count:>9,}" for name, count in sorted(campaign.checkpoints.items())),
    ]
    for seed, violation in sorted(campaign.violations.items()):
        lines += _describe_violation(seed, violation, options)
    lines.append(f"{len(campaign.violations)} of {campaign.seeds} seeds broke a guarantee")
    sys.stdout.write("\n".join(lines) + "\n")


def _describe_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _describe_money(money: Reconciliation) -> list[str]:
    """Return what Replicate has billed, what the jobs cost, and the difference."""
    known = money.costs + money.estimated
    return [
        f"invoice of {money.jobs:,} jobs with a known cost: ${format_usd(money.billed)}",
        f"  their costs: ${format_usd(money.costs)}, difference ${format_usd(money.billed - money.costs)}",
        f"  usage: ${format_usd(money.usage)}, difference to all costs ${format_usd(money.usage - known)}",
        f"  {money.estimates:,} estimates: ${format_usd(money.estimated)}; {money.unknown:,} unknown costs",
        f"  invoice of these: ${format_usd(money.billed_otherwise)}",
    ]


def _hunt_mutants(options: argparse.Namespace) -> int:
    """Return 1 if a mutant survived."""
    survivors = 0
    with ProcessPoolExecutor() as pool:
        for verdict in pool.map(partial(hunt_by_number, max_seeds=options.seeds), range(len(MUTANTS))):
            survivors += not verdict.found
            found = f"{verdict.found}: {verdict.guarantee}" if verdict.found else "SURVIVED"
            sys.stdout.write(f"{verdict.mutant:<70} {verdict.runs:>4} runs  {found}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{survivors} of {len(MUTANTS)} mutants survived\n")
    return 1 if survivors else 0


def _replay(options: argparse.Namespace) -> int:
    settings = _build_settings(options)
    result = run_seed(options.seed, settings, script=options.script)
    if result.violation is not None and options.shrink:
        result = shrink(result, settings, report=lambda text: print(text, file=sys.stderr))  # noqa: T201 - shown
    shown = run_seed(
        options.seed,
        replace(settings, keeps_steps=True),
        script=result.decisions,
    )
    _print_trace(shown, options)
    return 1 if result.violation else 0


def _print_trace(result: RunResult, options: argparse.Namespace) -> None:
    steps = result.trace
    if options.job:
        steps.steps = [step for step in steps.steps if options.job in f"{step.actor} {step.text}"]
    lines = [
        steps.format(start=START, last=options.last),
        f"trace hash {steps.hash}, {steps.count} steps",
        f"choices: {json.dumps(dict(result.decisions))}",
    ]
    if result.violation is None:
        lines.append("every guarantee held")
    else:
        violation = result.violation
        lines.append(f"VIOLATION at {violation.at - START:.3f} s: {violation.guarantee}: {violation.detail}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
