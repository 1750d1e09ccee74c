"""The cache of secrets, and the keys that are derived from the stack's root secret."""

from __future__ import annotations

from functools import cache

from replicate_proxy import signing
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.secrets import SecretReader
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.settings import SIGNING_SECRET_ARN


@cache
def build_secret_reader() -> SecretReader:
    return SecretReader(get_client("ssm"))


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
def load_stream_signing_key() -> bytes:
    return signing.derive_key(load_root_secret(), "stream-urls")


@cache
def load_output_key_secret() -> bytes:
    return signing.derive_key(load_root_secret(), "output-keys")
