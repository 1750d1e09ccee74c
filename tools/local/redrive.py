"""The deployment that `make redrive` works on."""

from collections.abc import Mapping

from tools.cli.admin_client import AdminClient
from tools.local.paths import StackFolder
from tools.local.stack import Stack


def create_admin_client(variables: Mapping[str, str], folder: StackFolder) -> AdminClient:
    """Return a client of the deployment that the variables name, or else of the local stack.

    The variables are REPLICATE_PROXY_URL and REPLICATE_PROXY_ADMIN_KEY. Raises LocalError if no local stack
    is running, ConfigurationError if only one variable is set.
    """
    if variables.get("REPLICATE_PROXY_URL") or variables.get("REPLICATE_PROXY_ADMIN_KEY"):
        return AdminClient.from_environment(variables)
    stack = Stack.load(folder)
    return AdminClient(stack.api_url, stack.admin_key)
