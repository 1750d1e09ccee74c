"""Commands of model entries."""

from __future__ import annotations

import json
from difflib import unified_diff
from typing import TYPE_CHECKING, Any, TextIO

import click

from proxyctl.app import MODEL_NAME, App, Group, pass_app, read_json_object
from proxyctl.client import AdminApiError, build_path
from proxyctl.output import format_json, print_json, print_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

type Entries = Mapping[str, Mapping[str, Any]]

_COLUMNS = ("name", "target", "description", "max_concurrency", "timeout_seconds", "allowed_tenants")
_NOT_FOUND = 404
_file_option = click.option(
    "-f", "--file", required=True, type=click.File("r", encoding="utf-8"), help="A JSON file, or - for stdin."
)
_dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
_if_match_option = click.option(
    "--if-match", metavar="ETAG", help="Change only if this is still the ETag that `models show` prints."
)


@click.group(cls=Group)
def models() -> None:
    """List, show, change, export and import model entries."""


@models.command("list")
@pass_app
def list_entries(app: App) -> None:
    """List all entries."""
    app.show_rows(app.client.call("GET", build_path("models"))["models"], _COLUMNS)


@models.command("show")
@click.argument("name", type=MODEL_NAME)
@pass_app
def show_entry(app: App, name: str) -> None:
    """Show an entry."""
    reply = app.client.send("GET", _build_entry_path(name))
    app.show_fields(reply.content)
    app.note(f"etag  {reply.etag}")


@models.command("put")
@click.argument("name", type=MODEL_NAME)
@_file_option
@_if_match_option
@_dry_run_option
@pass_app
def put_entry(app: App, name: str, file: TextIO, if_match: str | None, dry_run: bool) -> None:
    """Create or replace an entry by the JSON object in a file."""
    entry = read_json_object(file)
    if dry_run:
        present = _read_entry(app, name)
        _show_difference(app, {name: present} if present else {}, {name: entry})
        return
    reply = app.client.send("PUT", _build_entry_path(name), entry, headers=_build_condition(if_match))
    app.show_fields(reply.content)


@models.command("delete")
@click.argument("name", type=MODEL_NAME)
@_if_match_option
@pass_app
def delete_entry(app: App, name: str, if_match: str | None) -> None:
    """Delete an entry."""
    app.client.send("DELETE", _build_entry_path(name), headers=_build_condition(if_match))
    app.show_done("deleted", f"models/{name}")


@models.command("export")
@click.option(
    "-o", "--output", type=click.File("w", encoding="utf-8", lazy=True), default="-", help="A file."
)
@pass_app
def export_entries(app: App, output: TextIO) -> None:
    """Write all entries as one JSON document, which `import` takes."""
    document = app.client.call("GET", build_path("models"))
    output.write(format_json(document) + "\n")


@models.command("import")
@_file_option
@_if_match_option
@_dry_run_option
@pass_app
def import_entries(app: App, file: TextIO, if_match: str | None, dry_run: bool) -> None:
    """Replace all entries by those of an exported document.

    Entries that are not in the document are deleted. If an entry changes meanwhile, nothing is
    replaced.
    """
    document = read_json_object(file)
    new = _index_entries(document, file.name)
    present = app.client.send("GET", build_path("models"))
    old = _index_entries(present.content, "the response")
    if dry_run:
        _show_difference(app, old, new)
        return
    condition = _build_condition(if_match or present.etag)
    reply = app.client.send("PUT", build_path("models"), document, headers=condition)
    counts = {
        "added": len(new.keys() - old.keys()),
        "deleted": len(old.keys() - new.keys()),
        "entries": len(reply.content["models"]),
    }
    app.show_fields(counts)


def register(parent: click.Group) -> None:
    parent.add_command(models)


def _build_entry_path(name: str) -> str:
    owner, _, model = name.partition("/")
    return build_path("models", owner, model)


def _build_condition(etag: str | None) -> dict[str, str]:
    return {"If-Match": etag} if etag else {}


def _read_entry(app: App, name: str) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = app.client.call("GET", _build_entry_path(name))
    except AdminApiError as error:
        if error.status == _NOT_FOUND:
            return None
        raise
    return entry


def _index_entries(document: Mapping[str, Any], source: str) -> Entries:
    entries = document.get("models")
    if not isinstance(entries, list) or not all(_has_name(entry) for entry in entries):
        raise click.UsageError(f'{source} is not of the form {{"models": [{{"name": …}}, …]}}')
    return {one["name"]: one for one in entries}


def _has_name(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def _show_difference(app: App, old: Entries, new: Entries) -> None:
    """Print what would change. Only the API knows the default of a field that the new entry leaves out."""
    if app.as_json:
        print_json(
            {
                "added": sorted(new.keys() - old.keys()),
                "deleted": sorted(old.keys() - new.keys()),
                "changed": sorted(
                    name for name in new.keys() & old.keys() if _is_changed(old[name], new[name])
                ),
            }
        )
        return
    lines = [line for name in sorted(old.keys() | new.keys()) for line in _compare(name, old, new)]
    for line in lines or ["nothing would change"]:
        print_line(line)


def _compare(name: str, old: Entries, new: Entries) -> Iterator[str]:
    before, after = old.get(name), new.get(name)
    if before is not None and after is not None:
        if not _is_changed(before, after):
            return
        before = {field: value for field, value in before.items() if field in after or not _is_empty(value)}
    yield from unified_diff(
        _to_lines(before),
        _to_lines(after),
        fromfile=name if before is not None else "(no entry)",
        tofile=name if after is not None else "(deleted)",
        lineterm="",
    )


def _is_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    fields = {name for name in before.keys() | after.keys() if name != "name"}
    return any(
        before.get(name) != after.get(name)
        and not (_is_empty(before.get(name)) and _is_empty(after.get(name)))
        for name in fields
    )


def _is_empty(value: Any) -> bool:
    return value in (None, "", [], {})


def _to_lines(entry: Mapping[str, Any] | None) -> list[str]:
    if entry is None:
        return []
    return json.dumps(entry, indent=2, sort_keys=True, ensure_ascii=False).splitlines()
