"""What all commands share: the connection, the choice of the output, and types of parameters."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from proxyctl.client import AdminClient
from proxyctl.connection import Connection, ConnectionSettingsError, read_environment, read_local_stack
from proxyctl.output import print_fields, print_json, print_line, print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass
class App:
    """The state of one run. The connection is read when the first request needs it."""

    as_json: bool = False
    is_local: bool = False
    given_connection: Connection | None = field(default=None, repr=False)

    @cached_property
    def connection(self) -> Connection:
        if self.given_connection is not None:
            return self.given_connection
        try:
            return read_local_stack(Path.cwd()) if self.is_local else read_environment(os.environ)
        except ConnectionSettingsError as error:
            raise click.UsageError(str(error)) from error

    @cached_property
    def client(self) -> AdminClient:
        return AdminClient(self.connection.url, self.connection.admin_key)

    def show_rows(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Print a list: a table of these columns, or all fields as JSON."""
        if self.as_json:
            print_json(list(rows))
        else:
            print_table(columns, rows)

    def show_fields(self, value: Mapping[str, Any]) -> None:
        """Print an object."""
        if self.as_json:
            print_json(value)
        else:
            print_fields(value)

    def show_done(self, action: str, name: str) -> None:
        """Print that a change without a response body was made, such as `deleted` of `tenants/acme`."""
        if self.as_json:
            print_json({action: name})
        else:
            print_line(f"{action} {name}")

    def note(self, text: str) -> None:
        """Print a remark for people."""
        if not self.as_json:
            print_line(text)


pass_app = click.make_pass_decorator(App)


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(App).as_json = True


class Command(click.Command):
    """A command that has the option --json."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params.append(
            click.Option(["--json"], is_flag=True, expose_value=False, callback=_set_json, help="Print JSON.")
        )


class Group(click.Group):
    """A group of commands with the option --json."""

    command_class = Command
    group_class = type


class _Segment(click.ParamType[str]):
    """A part of a path, which cannot lead to another route."""

    name = "text"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in {"", ".", ".."} or not _is_unicode(value):
            self.fail(f"{value!r} is not a name or an ID", param, ctx)
        return value


class _ModelName(click.ParamType[str]):
    """The name of a model entry, as a path: `owner/name`."""

    name = "owner/name"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        owner, separator, name = value.partition("/")
        if not separator or "/" in name or {owner, name} & {"", ".", ".."} or not _is_unicode(value):
            self.fail(f"{value!r} is not of the form owner/name", param, ctx)
        return value


class FiniteFloat(click.FloatRange):
    """A number in a range; JSON has neither NaN nor infinity, which click's own types accept."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


SEGMENT = _Segment()
MODEL_NAME = _ModelName()


def read_json_object(file: TextIO) -> dict[str, Any]:
    """Return the JSON object in a file. Raises UsageError if it has none, or one that cannot be sent."""
    try:
        value = json.load(file)
        # Python also reads NaN, and a nesting that it cannot write again.
        json.dumps(value, indent=2, allow_nan=False)
    except ValueError as error:
        raise click.UsageError(f"{file.name} is not JSON: {error}") from error
    except RecursionError as error:
        raise click.UsageError(f"{file.name} is nested too deeply") from error
    if not isinstance(value, dict):
        raise click.UsageError(f"{file.name} does not contain a JSON object")
    return value


def _is_unicode(text: str) -> bool:
    """Return whether an argument is text: bytes that are not become surrogates, which no URL can have."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def drop_missing(**fields: Any) -> dict[str, Any]:
    """Return the fields that were given: neither None nor empty."""
    return {name: value for name, value in fields.items() if value not in (None, (), "")}


def filter_options[F: Callable[..., Any]](command: F) -> F:
    """Add the options that choose predictions, all of which are optional."""
    for option in (
        click.option("--created-before", metavar="TIME"),
        click.option("--created-after", metavar="TIME", help="Like 2026-11-23T00:00:00Z."),
        click.option("--older-than", type=int, metavar="SECONDS", help="Created at least so long ago."),
        click.option("--error-class", help="Why it ended; without --status, only failed ones."),
        click.option("--model", metavar="OWNER/NAME", help="The model that ran or that the caller named."),
        click.option("--metadata", metavar="NAME=VALUE,…", help="What the caller has sent as X-Metadata."),
        click.option("--batch", metavar="ID"),
        click.option("--key", metavar="ID", help="The API key that created it, or jwt:SUBJECT of a token."),
        click.option("--tenant"),
        click.option(
            "--status", help="Some statuses with commas; unfinished stands for all that are not final."
        ),
    ):
        command = option(command)
    return command


def limit_options[F: Callable[..., Any]](command: F) -> F:
    """Add the options of request limits."""
    for option in (
        click.option("--monthly-quota", type=int, help="Requests per month."),
        click.option("--burst", type=int, help="Requests at once; with --rate."),
        click.option("--rate", type=FiniteFloat(), help="Requests per second; with --burst."),
    ):
        command = option(command)
    return command


def build_limits(rate: float | None, burst: int | None, monthly_quota: int | None) -> dict[str, Any] | None:
    """Return the request limits, None if none is given. Raises UsageError if rate or burst is missing."""
    if rate is None and burst is None and monthly_quota is None:
        return None
    if rate is None or burst is None:
        raise click.UsageError("--rate and --burst belong together; --monthly-quota needs both")
    return {"rate": rate, "burst": burst, "monthly_quota": monthly_quota}
