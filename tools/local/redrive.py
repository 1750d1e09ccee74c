"""python -m tools.local.redrive: the command behind `make redrive`, for the local stack or any deployment.

A deployment on AWS is named by REPLICATE_PROXY_URL and REPLICATE_PROXY_ADMIN_KEY.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from replicate_proxy.errors import ProxyError
from tools.cli.admin_client import AdminClient
from tools.cli.redrive import format_json, run_command
from tools.local.errors import LocalError
from tools.local.home import Home
from tools.local.stack import Stack


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 it failed and said why."""
    try:
        print(format_json(run_command(sys.argv[1:] if arguments is None else arguments, connect(os.environ))))  # noqa: T201 - its answer
    except (LocalError, ProxyError) as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command line's error
        return 1
    return 0


def connect(values: Mapping[str, str]) -> AdminClient:
    """The deployment that the variables name, or else the local stack. Raises LocalError where none is up."""
    url, key = values.get("REPLICATE_PROXY_URL", ""), values.get("REPLICATE_PROXY_ADMIN_KEY", "")
    if url and key:
        return AdminClient(url, key)
    if url or key:
        raise LocalError("REPLICATE_PROXY_URL and REPLICATE_PROXY_ADMIN_KEY go together")
    stack = Stack.load(Home())
    return AdminClient(stack.api_url, stack.admin_key)


if __name__ == "__main__":
    sys.exit(main())
