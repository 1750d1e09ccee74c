"""The cache of secrets, and the keys that are derived from the stack's root secret."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy import signing
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.secrets import SecretReader
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.settings import (
    SIGNING_SECRET_ARN,
    TENANT_TOKENS_PREFIX,
    TENANT_WEBHOOK_SECRETS_PREFIX,
)

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Account


@cache
def build_secret_reader() -> SecretReader:
    return SecretReader(get_client("ssm"))


def name_tenant_token(account: Account) -> str:
    """Return the name of the parameter with the API token of a tenant's account."""
    return f"{env[TENANT_TOKENS_PREFIX]}/{account.tenant}/{account.name}"


def name_tenant_webhook_secret(account: Account) -> str:
    """Return the name of the parameter with the webhook secrets of a tenant's account."""
    return f"{env[TENANT_WEBHOOK_SECRETS_PREFIX]}/{account.tenant}/{account.name}"


@cache
def load_root_secret() -> bytes:
    """Return the root secret. It never changes, so it is read once; if that fails, the next call retries."""
    arn = env[SIGNING_SECRET_ARN]
    return get_client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"].encode()


@cache
def load_api_key_digest_key() -> bytes:
    return signing.derive_key(load_root_secret(), "api-keys")


@cache
def load_file_signing_key() -> bytes:
    return signing.derive_key(load_root_secret(), "file-urls")


@cache
def load_console_signing_key() -> bytes:
    return signing.derive_key(load_root_secret(), "console-sessions")


@cache
def load_stream_signing_key() -> bytes:
    return signing.derive_key(load_root_secret(), "stream-urls")


@cache
def load_output_key_secret() -> bytes:
    return signing.derive_key(load_root_secret(), "output-keys")
