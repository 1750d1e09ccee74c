"""API keys from the command line, by way of the admin API.

export REPLICATE_PROXY_URL=https://…/prod REPLICATE_PROXY_ADMIN_KEY=rp_…
python -m tools.cli.api_keys create acme --scope predictions:read --name backend
python -m tools.cli.api_keys list | rotate ID --overlap-hours 24 | revoke ID
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.errors import ConfigurationError, ProxyError
from tools.cli.admin_client import AdminClient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def run_command(arguments: Sequence[str], values: Mapping[str, str]) -> Any:
    """What the command answers, as JSON. The operator's key comes by variable: arguments can be seen."""
    options = _parser().parse_args(arguments)
    client = AdminClient(
        _required(values, "REPLICATE_PROXY_URL"), _required(values, "REPLICATE_PROXY_ADMIN_KEY")
    )
    match options.action:
        case "create":
            wanted = {"name": options.name, "allowed_ips": options.ip, "allowed_models": options.model}
            scopes = sorted(options.scope or DEFAULT_SCOPES)
            return client.create_key(options.tenant, scopes=scopes, **wanted)
        case "list":
            return client.list_keys(options.tenant)
        case "rotate":
            return client.rotate_key(options.id, overlap_seconds=int(options.overlap_hours * 3600))
        case _:
            return client.revoke_key(options.id)


def _required(values: Mapping[str, str], name: str) -> str:
    if not values.get(name):
        raise ConfigurationError(f"environment variable {name} is not set")
    return values[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.cli.api_keys", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make a key; its text is shown once")
    create.add_argument("tenant")
    create.add_argument("--name", default="")
    create.add_argument("--scope", action="append", choices=[scope.value for scope in Scope])
    create.add_argument("--ip", action="append", default=[], help="an address or CIDR range that may use it")
    create.add_argument("--model", action="append", default=[], help="owner/name or owner/* that it may run")
    actions.add_parser("list", help="all keys, or one tenant's").add_argument("tenant", nargs="?")
    rotate = actions.add_parser("rotate", help="a new secret; the old one stays valid for the overlap")
    rotate.add_argument("id")
    rotate.add_argument("--overlap-hours", type=float, default=24)
    actions.add_parser("revoke", help="end a key at once").add_argument("id")
    return parser


def main() -> None:
    try:
        sys.stdout.write(
            json.dumps(run_command(sys.argv[1:], os.environ), indent=2, ensure_ascii=False) + "\n"
        )
    except ProxyError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
