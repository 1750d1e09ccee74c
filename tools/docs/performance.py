"""Write docs/performance.md from the stored run of the benchmarks, with its pictures.

.venv/bin/python -m tools.docs.performance
"""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bench.stored_run import StoredRun
from tools.docs.measured import NOT_MEASURED, format_date, format_range, format_target, format_value
from tools.docs.peers import render_peers
from tools.docs.plot_data import GROWTH_PLOT, LATENCY_PLOT, find_plots
from tools.docs.sections import MAX_COLUMNS, render_table, replace_sections
from tools.docs.waterfall import render_waterfall

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence
    from typing import Any

    from tools.bench.stored_run import Result

_ROOT = Path(__file__).parents[2]
PAGE = _ROOT / "docs/performance.md"
WATERFALL = _ROOT / "docs/images/waterfall.svg"
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: what it is about, and the results that it shows.

    `pattern` is the name of a result, or matches several (fnmatch): then the line shows the worst of them.
    """

    text: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Group:
    """A table, and the part of the benchmarks that measures it."""

    title: str
    parts: tuple[str, ...]
    rows: tuple[Row, ...]


GROUPS = (
    Group(
        "One job and many",
        ("pipeline", "deliveries"),
        (
            Row("submission to Replicate's create call, median", "submission_to_create_call.p50"),
            Row("the same, 99th percentile", "submission_to_create_call.p99"),
            Row("of it, until the record is written", "submission.accepted.p50"),
            Row(
                "of it, until dispatch has claimed the job (50 ms: the emulator rests)",
                "submission.claimed.p50",
            ),
            Row("of it, until Replicate has the request", "submission.created.p50"),
            Row(
                "Replicate's completion to stored image and job `succeeded`, median",
                "completion_to_succeeded.p50",
            ),
            Row("the same, 99th percentile", "completion_to_succeeded.p99"),
            Row("end of a job to first delivery attempt, median", "delivery.first_attempt.p50"),
            Row("the same, 99th percentile", "delivery.first_attempt.p99"),
            Row("jobs whose webhook was attempted, of 300", "delivery.first_attempts"),
            Row("burst of 300 image jobs, succeeded", "burst.succeeded"),
            Row("burst of 300 image jobs, throughput", "burst.throughput"),
            Row("processor time of a job: functions", "burst.processor.functions"),
            Row("the same: compression of its image", "burst.processor.image workers"),
            Row("the same: emulated AWS", "burst.processor.emulated AWS"),
            Row("the same: local Replicate", "burst.processor.local Replicate"),
            Row("the same: the benchmark itself", "burst.processor.the benchmark"),
            Row("1,000 events, receiver fails 30 %: delivered", "delivery.unreliable_receiver.delivered"),
            Row("1,000 events: delivered more than once", "delivery.unreliable_receiver.duplicated"),
        ),
    ),
    Group(
        "Streams",
        ("streams",),
        (
            Row("first token, later than from Replicate itself", "stream_first_token.added_p50"),
            Row("create of a model that streams text", "create_with_stream_of_text.p50"),
            Row("create of a model that returns files", "create_with_stream_of_files.p50"),
            Row("create of a model that does not stream", "create_with_stream_of_none.p50"),
            Row("50 streams at once, complete", "50_streams.proxy_complete"),
            Row("50 streams at once, first token, 99th percentile", "50_streams.proxy_first_token.p99"),
        ),
    ),
    Group(
        "Cold starts, as a share of a handler that imports everything",
        ("imports",),
        tuple(
            Row(f"`{name}`", f"import.{name}")
            for name in ("ingest", "dispatch", "query", "webhook", "authorize")
        ),
    ),
    Group(
        "Warm functions, processor time of our own code",
        ("warm",),
        tuple(
            Row(f"`{name}`", f"warm.{name}")
            for name in (
                *(
                    "ingest",
                    "query",
                    "webhook",
                    "authorize",
                    "dispatch",
                    "track",
                    "notify",
                    "deliver",
                    "usage",
                ),
                "harvest",
            )
        ),
    ),
    Group(
        "Cost and growth",
        ("costs", "growth"),
        (
            Row("AWS cost of 1,000 image jobs", "cost.*per_1000_jobs"),
            Row("AWS requests of a list page, at most", "growth.*.list*.requests"),
        ),
    ),
    Group(
        "Console with 10,000 predictions",
        ("console",),
        (
            Row("server time of the slowest page", "console.*.p50"),
            Row("the same, without the answers of the emulated AWS", "console.*.without_aws"),
            Row("transfer of the largest page, style and script included", "console.*.size"),
        ),
    ),
    Group(
        "Images",
        ("images",),
        (
            Row("bytes at the SSIMULACRA2 of sharp's WebP, AVIF accepted", "image.avif.equal_bytes.all"),
            Row("the same, photographs", "image.avif.equal_bytes.photographs"),
            Row("the same, AVIF not accepted", "image.webp.equal_bytes.all"),
            Row("lowest SSIMULACRA2, AVIF accepted", "image.avif.score_min"),
            Row("the same, AVIF not accepted", "image.webp.score_min"),
            Row("size, of the source PNGs of photographs, AVIF accepted", "image.avif.bytes_ratio"),
            Row("the same, AVIF not accepted", "image.webp.bytes_ratio"),
            Row("processor time for a PNG of 1024 × 1024", "image.ms_1024_png"),
            Row("the same against sharp, worst image", "image.vs_sharp"),
            Row("as AVIF against sharp, worst image", "image.avif.vs_sharp"),
            Row("the same against pyvips", "image.vs_pyvips"),
            Row("the same against Pillow", "image.vs_pillow"),
            Row("peak memory for 24 megapixels", "image.peak_mb_24mp"),
            Row("peak memory for 4.2 megapixels as AVIF", "image.peak_mb_avif"),
        ),
    ),
)


def render_targets(run: StoredRun) -> str:
    """Return a table for each group, and one of all other results that have a target."""
    shown: set[str] = set()
    sections = []
    for group in GROUPS:
        rows = []
        for row in group.rows:
            results = _find_results(run, row.pattern)
            shown.update(result.name for result in results)
            rows.append(_render_row(row.text, results, row.pattern))
        table = _render(rows) if any(row[1] != NOT_MEASURED for row in rows) else ""
        sections.append(f"### {group.title}\n\n{_describe_parts(run, group.parts)}\n\n{table}")
    shown.update(result.name for result in _find_results(run, "peers.*"))  # They have tables of their own.
    others = [result for result in run.list_results() if result.target and result.name not in shown]
    if others:
        rows = [_render_row(f"`{result.name}`", [result], result.name) for result in others]
        sections.append(f"### Other results\n\n{_render(rows)}")
    return "\n".join(sections)


def render_runs(run: StoredRun) -> str:
    """Return the table of parts with date, commit and machine."""
    machines: list[str] = []
    rows = []
    for name, part in sorted(run.parts.items()):
        facts = _describe_machine(part.machine)
        if facts not in machines:
            machines.append(facts)
        load = _UNKNOWN if part.load is None else f"{part.load:g}"
        loop = _UNKNOWN if part.loop_seconds is None else f"{part.loop_seconds:g} s"
        number = str(machines.index(facts) + 1)
        commit = f"`{_shorten_commit(part.commit)}`"
        rows.append((f"`{name}`", format_date(part), commit, str(part.repeats), load, loop, number))
    header = ("part", "date", "commit", "repeats", "load before it", "10 million additions", "machine")
    listed = "\n".join(_wrap(f"{number}. {facts}", indent="   ") for number, facts in enumerate(machines, 1))
    return f"{render_table(header, rows)}\nMachines:\n\n{listed}"


def _shorten_commit(commit: str) -> str:
    """Return twelve digits, and the `+` of a run whose files differed from the commit."""
    return commit[:12] + ("+" if commit.endswith("+") else "")


def render_page(run: StoredRun, page: str) -> str:
    """Return the page with its generated sections written again."""
    plots, pictures = find_plots(run), dict(list_pictures(run))
    sections = {
        "targets": render_targets(run),
        "latency": _show_picture("Share of jobs by latency", LATENCY_PLOT, plots),
        "growth": _show_picture("AWS requests and units by stored predictions", GROWTH_PLOT, plots),
        "waterfall": _show_picture("Where the time of one job went", WATERFALL, pictures),
        "peers": render_peers(run),
        "runs": render_runs(run),
    }
    return replace_sections(page, sections)


def list_pictures(run: StoredRun) -> Iterator[tuple[Path, str]]:
    """Yield the pictures that need no other library, as file and text."""
    pipeline = run.parts.get("pipeline")
    if pipeline and "waterfall" in pipeline.pictures:
        yield WATERFALL, render_waterfall(pipeline.pictures["waterfall"])


def _show_picture(text: str, path: Path, available: Container[Path]) -> str:
    if path not in available:
        return f"The picture is {NOT_MEASURED}."
    return f"![{text}]({path.relative_to(PAGE.parent)})"


def _find_results(run: StoredRun, pattern: str) -> list[Result]:
    return [result for result in run.list_results() if fnmatchcase(result.name, pattern)]


def _render_row(text: str, results: Sequence[Result], pattern: str) -> tuple[str, ...]:
    if not results:
        return (text, NOT_MEASURED, "", "", "")
    rated = [result for result in results if result.target] or list(results)
    worst = min(rated, key=_rate)
    value = format_value(worst.value, worst.unit)
    if len(rated) > 1:
        value += f" (`{_find_variable(worst.name, pattern)}`)"
    return (text, value, format_range(worst), format_target(worst), _judge(rated, pattern))


def _rate(result: Result) -> float:
    rate = None if result.value is None else result.rate(result.value)
    return float("-inf") if rate is None else rate


def _judge(results: Sequence[Result], pattern: str) -> str:
    """Return whether the targets are met; of several results, which are not."""
    missed = [result.name for result in results if result.met is False]
    if not any(result.met is not None for result in results):
        return ""
    if not missed:
        return "yes"
    if len(results) == 1:
        return "**no**"
    names = ", ".join(f"`{_find_variable(name, pattern)}`" for name in missed)
    return f"**no**, {len(missed)} of {len(results)}: {names}"


def _find_variable(name: str, pattern: str) -> str:
    """Return what the first to the last `*` of a pattern stand for."""
    head, _, rest = pattern.partition("*")
    return name.removeprefix(head).removesuffix(rest.rpartition("*")[2])


def _render(rows: Sequence[tuple[str, ...]]) -> str:
    return render_table(("what", "measured", "lowest and highest repeat", "target", "met"), rows)


def _describe_parts(run: StoredRun, names: Sequence[str]) -> str:
    dates = [
        f"`make bench PART={name}`, {format_date(run.parts[name]) if name in run.parts else NOT_MEASURED}"
        for name in names
    ]
    return _wrap("; ".join(dates) + ".")


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, MAX_COLUMNS, subsequent_indent=indent, break_on_hyphens=False)


def _describe_machine(facts: Mapping[str, Any]) -> str:
    memory = f", {facts['memory_gb']} GB" if "memory_gb" in facts else ""
    build = f" ({facts['python_build']})" if "python_build" in facts else ""
    return (
        f"{facts['processor']}, {facts['cores']} cores{memory}; {facts['system']};"
        f" Python {facts['python']}{build}"
    )


def main() -> int:
    """Write the page and its pictures."""
    run = StoredRun.load()
    PAGE.write_text(render_page(run, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for path, text in list_pictures(run):
        path.write_text(text, encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE.relative_to(_ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
