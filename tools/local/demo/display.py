"""The demo on the screen: hops as they happen, and the table at the end."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table

from tools.local.demo.evidence import StoredFile
from tools.local.demo.hops import Hop, list_recorded_hops, parse_time
from tools.local.screen import Screen


def progress(screen: Screen, record: Mapping[str, Any], shown: set[str]) -> None:
    """Prints the hops that the record tells of and that are not in `shown` yet."""
    start = parse_time(record["created_at"])
    for hop in list_recorded_hops(record["proxy"]["timeline"]):
        if hop.at and hop.name not in shown:
            shown.add(hop.name)
            screen.print(f"  {_after(hop.at, start)}  {hop.name}")


def outcome(
    screen: Screen, record: Mapping[str, Any], hops: Sequence[Hop], files: Sequence[StoredFile]
) -> None:
    screen.console.print("", hop_table(record, hops))
    if files:
        screen.console.print(file_table(files))
    for file in files:
        screen.print(f"S3     s3://{file.bucket}/{file.key}\nURL    {file.url}\nsaved  {file.saved_as}")
    if not files and record["output"] is not None:
        screen.print(f"output {record['output']!s:.300}")
    if record["error"]:
        screen.print(f"[red]error  {record['error']}[/]")
    missing = [hop.name for hop in hops if not hop.happened]
    verdict = f"[red]did not happen: {', '.join(missing)}[/]" if missing else "[green]every hop happened[/]"
    screen.print(f"\n{verdict}; the stack stays up: make status, make logs, make down")


def hop_table(record: Mapping[str, Any], hops: Sequence[Hop]) -> Table:
    start, previous = parse_time(record["created_at"]), parse_time(record["created_at"])
    columns = ("hop", "time (UTC)", "after", "step", "shown by")
    table = Table(*columns, title=f"job {record['id']}", title_justify="left")
    for hop in hops:
        if hop.at is None:
            table.add_row(f"[red]{hop.name}[/]", "[red]did not happen[/]", "", "", hop.evidence)
            continue
        clock = hop.at.strftime("%H:%M:%S.%f")[:-3]
        # S3 tells whole seconds, so its time may lie a little before the hop that led to it.
        step = _after(hop.at, previous) if previous and hop.at >= previous else ""
        table.add_row(hop.name, clock, _after(hop.at, start), step, hop.evidence)
        previous = max(previous or hop.at, hop.at)
    return table


def file_table(files: Sequence[StoredFile]) -> Table:
    table = Table("file", "at Replicate", "in S3", "of it", title="outputs", title_justify="left")
    for file in files:
        before = file.source_bytes
        share = f"{file.stored_bytes / before:.1%}" if before else "?"
        table.add_row(
            file.saved_as.name, f"{before:,} B" if before else "?", f"{file.stored_bytes:,} B", share
        )
    return table


def _after(at: datetime, start: datetime | None) -> str:
    return f"{(at - start).total_seconds():+8.3f} s" if start else ""
