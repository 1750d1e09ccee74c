"""`make redrive`: count, inspect and redrive dead letters of the local stack.

If REPLICATE_PROXY_URL and REPLICATE_PROXY_ADMIN_KEY name another deployment, it works on that one. The
arguments are those of `.venv/bin/python -m tools.cli.redrive`.
"""

import os
import sys
from collections.abc import Mapping, Sequence

from tools.cli.admin_client import AdminClient
from tools.cli.console import print_result
from tools.cli.redrive import parse_arguments, run_command
from tools.local.errors import LocalError
from tools.local.paths import StackFolder
from tools.local.stack import Stack
from tools.terminal import run_tool


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 for success, 1 for an error."""
    options = parse_arguments(arguments)
    try:
        return print_result(lambda: run_command(options, create_admin_client(os.environ)))
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the error output of a command
        return 1


def create_admin_client(variables: Mapping[str, str]) -> AdminClient:
    """Return a client of the deployment that the variables name, or else of the local stack.

    Raises LocalError if no local stack is running, ConfigurationError if only one variable is set.
    """
    if variables.get("REPLICATE_PROXY_URL") or variables.get("REPLICATE_PROXY_ADMIN_KEY"):
        return AdminClient.from_environment(variables)
    stack = Stack.load(StackFolder())
    return AdminClient(stack.api_url, stack.admin_key)


if __name__ == "__main__":
    sys.exit(run_tool(main))
