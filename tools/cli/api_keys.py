"""Create, list, rotate and revoke API keys through the admin API.

export REPLICATE_PROXY_URL=https://…/prod REPLICATE_PROXY_ADMIN_KEY=rp_…
.venv/bin/python -m tools.cli.api_keys create acme --scope predictions:read --name backend
.venv/bin/python -m tools.cli.api_keys list
.venv/bin/python -m tools.cli.api_keys rotate ID --overlap-hours 24
.venv/bin/python -m tools.cli.api_keys revoke ID
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from tools.cli.admin_client import AdminClient
from tools.cli.console import print_result
from tools.terminal import run_tool

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return print_result(lambda: run_command(options, AdminClient.from_environment(os.environ)))


def parse_arguments(
    arguments: Sequence[str] | None = None,
    *,
    prog: str = ".venv/bin/python -m tools.cli.api_keys",
    description: str | None = __doc__,
) -> argparse.Namespace:
    """Parse the arguments. `prog` and `description` are how the help names and explains the command."""
    parser = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="create a key; its secret is shown once")
    create.add_argument("tenant")
    create.add_argument("--name", default="")
    create.add_argument("--scope", action="append", choices=[scope.value for scope in Scope])
    create.add_argument("--ip", action="append", default=[], help="allow only this IP address or CIDR range")
    create.add_argument("--model", action="append", default=[], help="allow only this owner/name or owner/*")
    actions.add_parser("list", help="list all keys, or those of a tenant").add_argument("tenant", nargs="?")
    rotate = actions.add_parser("rotate", help="create a new secret; the old one stays valid for the overlap")
    rotate.add_argument("id")
    rotate.add_argument("--overlap-hours", type=float, default=24)
    actions.add_parser("revoke", help="revoke a key at once").add_argument("id")
    return parser.parse_args(arguments)


def run_command(options: argparse.Namespace, client: AdminClient) -> Any:
    """Return the response of the admin API. Raises ProxyError with its error message."""
    match options.action:
        case "create":
            return client.create_key(
                options.tenant,
                name=options.name,
                scopes=sorted(options.scope or DEFAULT_SCOPES),
                allowed_ips=options.ip,
                allowed_models=options.model,
            )
        case "list":
            return client.list_keys(options.tenant)
        case "rotate":
            return client.rotate_key(options.id, overlap_seconds=int(options.overlap_hours * 3600))
        case _:
            return client.revoke_key(options.id)


if __name__ == "__main__":
    sys.exit(run_tool(main))
