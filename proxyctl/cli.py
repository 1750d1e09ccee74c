"""The command `proxyctl`: its options, its groups of commands, its errors and exit codes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from proxyctl import __version__
from proxyctl.app import App, Group
from proxyctl.client import AdminApiError
from proxyctl.commands import (
    audit,
    bulk,
    jobs,
    keys,
    limits,
    models,
    operations,
    queues,
    replays,
    tenants,
    usage,
)
from proxyctl.connection import ConnectionSettingsError
from proxyctl.output import clean, format_json
from proxyctl.terminal import run_tool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxyctl.connection import Connection

_FAILED = 1
_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells report it."""


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--local", is_flag=True, help="Use the running local stack of this repository.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; every command has this option, too.")
@click.version_option(__version__, prog_name="proxyctl")
@click.pass_context
def cli(context: click.Context, *, local: bool, as_json: bool) -> None:
    """Operate a stack of the Replicate Proxy through its admin API.

    The environment names the stack: REPLICATE_PROXY_URL is its output ApiUrl, REPLICATE_PROXY_ADMIN_KEY a
    key with the scope admin. Exit codes: 0 for success, 1 if a request was refused or failed, 2 for wrong
    usage.
    """
    app = context.ensure_object(App)
    app.is_local |= local
    app.as_json |= as_json


for module in (keys, tenants, models, usage, limits, queues, replays, operations, jobs, bulk, audit):
    module.register(cli)


def main(arguments: Sequence[str] | None = None, connection: Connection | None = None) -> int:
    """Run a command and return its exit code. `connection` is used instead of that of the environment."""
    app = App(given_connection=connection)
    try:
        result = cli.main(arguments, prog_name="proxyctl", standalone_mode=False, obj=app)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ConnectionSettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        return _FAILED
    except AdminApiError as error:
        _print_error(error, as_json=app.as_json)
        return _FAILED
    except (click.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED
    return result if isinstance(result, int) else 0


def run() -> int:
    """Run `main` so that the state of its output causes no stack trace."""
    return run_tool(main)


def _print_error(error: AdminApiError, *, as_json: bool) -> None:
    if as_json:
        content = {
            "message": str(error),
            "status": error.status,
            "hint": error.hint,
            "problem": error.problem,
        }
        sys.stderr.write(format_json({"error": content}) + "\n")
        return
    sys.stderr.write(f"error: {clean(str(error))}\n")
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")
