"""API keys of a local stack, created directly in its access table."""

from collections.abc import Mapping
from datetime import timedelta

from replicate_proxy import signing
from replicate_proxy.auth.keys import ApiKeySecret
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.aws.console_store import ControlTableLinks
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.clock import SystemClock
from replicate_proxy.console.access import SignInLink, issue_link
from replicate_proxy.console.session import build_proof
from tools.cli.first_admin_key import issue_key
from tools.local.emulator import get_client
from tools.local.errors import LocalError
from tools.local.stack import Stack

DEMO_TENANT = "demo"
OPERATOR_TENANT = "operator"
_LINK_LIFETIME = timedelta(hours=12)


class KeyIssuer:
    """Creates keys for the stack with this endpoint and these outputs."""

    def __init__(self, endpoint_url: str, outputs: Mapping[str, str]) -> None:
        secrets_manager = get_client("secretsmanager", endpoint_url)
        secret = secrets_manager.get_secret_value(SecretId=outputs["SigningSecretArn"])
        self._root_secret = str(secret["SecretString"])
        self._store = DynamoKeyStore(get_client("dynamodb", endpoint_url), outputs["AccessTableName"])

    def create_key(self, tenant: str, *, name: str, admin: bool = False) -> str:
        """Create a key and return its secret."""
        scopes = DEFAULT_SCOPES | ({Scope.ADMIN} if admin else set())
        return str(
            issue_key(self._store, self._root_secret, SystemClock(), tenant=tenant, name=name, scopes=scopes)
        )

    def is_stored(self, credential: str) -> bool:
        """Return whether the key still exists; a restart of the emulator without its state loses keys."""
        secret = ApiKeySecret.parse(credential)
        return secret is not None and self._store.get(secret.key_id) is not None


def create_sign_in_link(stack: Stack) -> str:
    """Return a URL that signs in to the stack's console once, as the holder of its admin key."""
    secret = ApiKeySecret.parse(stack.admin_key)
    if secret is None:
        raise LocalError("the stack has no admin key; run `make up` again")
    root = stack.get_root_secret().encode()
    proof = build_proof(
        signing.derive_key(root, "console-sessions"),
        secret.compute_digest(signing.derive_key(root, "api-keys")),
    )
    table = ControlTable(stack.get_client("dynamodb"), stack.outputs["ControlTableName"])
    link = SignInLink(
        key_id=secret.key_id,
        proof=proof,
        tenant=None,
        valid_until=SystemClock().now() + _LINK_LIFETIME,
    )
    return f"{stack.api_url}/console/link?token={issue_link(ControlTableLinks(table), link)}"
