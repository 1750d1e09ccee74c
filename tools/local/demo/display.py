"""The output of the demo: hops as they happen, then a table of all hops and one of the files."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.markup import escape

from tools.local.demo.evidence import StoredFile
from tools.local.demo.hops import Hop, list_recorded_hops, parse_time
from tools.local.screen import Screen

_HOP_COLUMNS = ("hop", "time (UTC)", "since creation", "since last hop", "evidence")


def show_progress(screen: Screen, prediction: Mapping[str, Any], shown: set[str]) -> None:
    """Show the hops in the prediction's timeline that are not yet in `shown`, and add them to it."""
    created_at = parse_time(prediction["created_at"])
    for name, at in list_recorded_hops(prediction["proxy"]["timeline"]):
        if at and name not in shown:
            shown.add(name)
            screen.print(f"  {_format_duration(created_at, at)}  {name}")


def show_result(
    screen: Screen,
    prediction: Mapping[str, Any],
    hops: Sequence[Hop],
    files: Sequence[StoredFile],
    make_argument: str = "",
) -> None:
    """Show tables of hops and files, the error if there is one, and whether every hop happened.

    `make_argument` is what the commands that are named at the end need for this stack.
    """
    screen.print("")
    screen.print_table(f"job {prediction['id']}", _HOP_COLUMNS, _build_hop_rows(prediction, hops))
    if files:
        screen.print_table("outputs", ("file", "at Replicate", "in S3", "ratio"), _build_file_rows(files))
    for file in files:
        saved_as = file.saved_as
        shown_path = saved_as.relative_to(Path.cwd()) if saved_as.is_relative_to(Path.cwd()) else saved_as
        screen.print(f"S3     s3://{file.bucket}/{file.key}\nURL    {file.url}\nsaved  {shown_path}")
    if not files and prediction.get("output") is not None:
        screen.print(escape(f"output {prediction['output']!s:.300}"))
    if cost := prediction["proxy"].get("cost"):
        screen.print(f"cost   {escape(_format_cost(cost))}")
    if prediction["error"]:
        screen.print(f"[red]error  {escape(str(prediction['error']))}[/]")
    missing = [hop.name for hop in hops if not hop.happened]
    verdict = f"[red]did not happen: {', '.join(missing)}[/]" if missing else "[green]every hop happened[/]"
    commands = ", ".join(f"make {target}{make_argument}" for target in ("status", "logs", "down"))
    screen.print(f"\n{verdict}; the stack keeps running: {commands}")


def _build_hop_rows(prediction: Mapping[str, Any], hops: Sequence[Hop]) -> list[tuple[str, ...]]:
    created_at = parse_time(prediction["created_at"])
    rows: list[tuple[str, ...]] = []
    previous = created_at
    for hop in hops:
        if not hop.happened:
            rows.append((f"[red]{hop.name}[/]", "[red]did not happen[/]", "", "", hop.evidence))
        elif hop.at is None:
            # Durations between different clocks would be wrong.
            rows.append((hop.name, _format_clock(hop.at_elsewhere), "", "", hop.evidence))
        else:
            since_creation = _format_duration(created_at, hop.at)
            since_last = _format_duration(previous, hop.at)
            rows.append((hop.name, _format_clock(hop.at), since_creation, since_last, hop.evidence))
            previous = hop.at
    return rows


def _build_file_rows(files: Sequence[StoredFile]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for file in files:
        source_size = f"{file.source_bytes:,} B" if file.source_bytes else "?"
        ratio = f"{file.stored_bytes / file.source_bytes:.1%}" if file.source_bytes else "?"
        rows.append((file.saved_as.name, source_size, f"{file.stored_bytes:,} B", ratio))
    return rows


def _format_cost(cost: Mapping[str, Any]) -> str:
    """Return the amount and where it comes from, or why it is not known."""
    if cost["usd"] is None:
        return f"not known: {cost['reason']}"
    origin = f", {cost['source']} ({cost['as_of']})" if "source" in cost else ""
    return f"${cost['usd']} ({cost['basis']}{origin})"


def _format_clock(at: datetime | None) -> str:
    """Return the time of day: to the millisecond, or in whole seconds if it has no more."""
    if at is None:
        return "[dim]not recorded[/]"
    return at.strftime("%H:%M:%S.%f")[:-3] if at.microsecond else at.strftime("%H:%M:%S")


def _format_duration(start: datetime | None, end: datetime) -> str:
    return f"{(end - start).total_seconds():+8.3f} s" if start else ""
