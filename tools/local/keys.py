"""API keys of a local stack, made as an operator makes the first key of a deployment on AWS."""

from collections.abc import Mapping

from replicate_proxy import signing
from replicate_proxy.auth.keys import ApiKey, ApiKeySecret
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.clock import SystemClock
from tools.local.stack import client

DEMO_TENANT = "demo"
OPERATOR_TENANT = "operator"


class KeyIssuer:
    """Makes keys in one stack's access table; `outputs` are the stack's."""

    def __init__(self, endpoint_url: str, outputs: Mapping[str, str]) -> None:
        secrets = client("secretsmanager", endpoint_url)
        root = str(secrets.get_secret_value(SecretId=outputs["SigningSecretArn"])["SecretString"])
        self._digest_key = signing.derive_key(root.encode(), "api-keys")
        self._store = DynamoKeyStore(client("dynamodb", endpoint_url), outputs["AccessTableName"])

    def is_stored(self, text: str) -> bool:
        """Whether a key of an earlier `up` is still there: the emulator may have forgotten it."""
        key = ApiKeySecret.parse(text)
        return key is not None and self._store.get(key.key_id) is not None

    def create_key(self, tenant: str, *, name: str, admin: bool = False) -> str:
        """A fresh key's text, which cannot be had again."""
        scopes = DEFAULT_SCOPES | ({Scope.ADMIN} if admin else set())
        secret = ApiKeySecret.generate()
        self._store.create(
            ApiKey(
                id=secret.key_id,
                tenant=tenant,
                digest=secret.compute_digest(self._digest_key),
                created_at=SystemClock().now(),
                name=name,
                scopes=scopes,
            )
        )
        return str(secret)
