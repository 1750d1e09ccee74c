"""The output of the demo: hops as they happen, then a table of all hops and one of the files."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table

from tools.local.demo.evidence import StoredFile
from tools.local.demo.hops import Hop, list_recorded_hops, parse_time
from tools.local.screen import Screen


def show_progress(screen: Screen, prediction: Mapping[str, Any], shown: set[str]) -> None:
    """Show the hops in the prediction's timeline that are not yet in `shown`, and add them to it."""
    created_at = parse_time(prediction["created_at"])
    for hop in list_recorded_hops(prediction["proxy"]["timeline"]):
        if hop.at and hop.name not in shown:
            shown.add(hop.name)
            screen.print(f"  {_format_duration(created_at, hop.at)}  {hop.name}")


def show_result(
    screen: Screen, prediction: Mapping[str, Any], hops: Sequence[Hop], files: Sequence[StoredFile]
) -> None:
    """Show tables of hops and files, the error if there is one, and whether every hop happened."""
    screen.console.print("", _build_hop_table(prediction, hops))
    if files:
        screen.console.print(_build_file_table(files))
    for file in files:
        screen.print(f"S3     s3://{file.bucket}/{file.key}\nURL    {file.url}\nsaved  {file.saved_as}")
    if not files and prediction["output"] is not None:
        screen.print(f"output {prediction['output']!s:.300}")
    if prediction["error"]:
        screen.print(f"[red]error  {prediction['error']}[/]")
    missing = [hop.name for hop in hops if not hop.happened]
    verdict = f"[red]did not happen: {', '.join(missing)}[/]" if missing else "[green]every hop happened[/]"
    screen.print(f"\n{verdict}; the stack keeps running: make status, make logs, make down")


def _build_hop_table(prediction: Mapping[str, Any], hops: Sequence[Hop]) -> Table:
    created_at = parse_time(prediction["created_at"])
    columns = ("hop", "time (UTC)", "since creation", "since last hop", "evidence")
    table = Table(*columns, title=f"job {prediction['id']}", title_justify="left")
    previous = created_at
    for hop in hops:
        if hop.at is None:
            table.add_row(f"[red]{hop.name}[/]", "[red]did not happen[/]", "", "", hop.evidence)
            continue
        clock = hop.at.strftime("%H:%M:%S.%f")[:-3]
        # S3 has times in whole seconds, so its time can be a little before that of the previous hop.
        since_previous = _format_duration(previous, hop.at) if previous and hop.at >= previous else ""
        table.add_row(hop.name, clock, _format_duration(created_at, hop.at), since_previous, hop.evidence)
        previous = max(previous or hop.at, hop.at)
    return table


def _build_file_table(files: Sequence[StoredFile]) -> Table:
    table = Table("file", "at Replicate", "in S3", "ratio", title="outputs", title_justify="left")
    for file in files:
        source_size = f"{file.source_bytes:,} B" if file.source_bytes else "?"
        ratio = f"{file.stored_bytes / file.source_bytes:.1%}" if file.source_bytes else "?"
        table.add_row(file.saved_as.name, source_size, f"{file.stored_bytes:,} B", ratio)
    return table


def _format_duration(start: datetime | None, end: datetime) -> str:
    return f"{(end - start).total_seconds():+8.3f} s" if start else ""
