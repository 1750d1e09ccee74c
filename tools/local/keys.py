"""API keys of a local stack, created directly in its access table."""

from collections.abc import Mapping

from replicate_proxy.auth.keys import ApiKeySecret
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.clock import SystemClock
from tools.cli.first_admin_key import issue_key
from tools.local.emulator import get_client

DEMO_TENANT = "demo"
OPERATOR_TENANT = "operator"


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
