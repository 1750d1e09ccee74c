"""Sign the URLs of private output files, as CloudFront verifies them.

Private files are below `private/` in the bucket. Their stored URLs open nothing; whoever shows one signs it
at that moment, with a canned policy, so that it opens this file until it expires (CloudFront Developer Guide,
"Create a signed URL using a canned policy"). The key is an ECDSA key on P-256: its signatures are a quarter
as long as those of RSA, and faster: a page of predictions has hundreds.

Only URLs in the folder of the job itself are signed. A model may write any text, also an expired URL of
another tenant's file.
"""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ConfigurationError, RetryableError
from replicate_proxy.json_tree import find_strings
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.ports import Clock

    type SignUrls = Callable[[Any, str | None], Any]
    """Return the JSON value with signed URLs of the private files in that folder; None or "" is no folder."""


_RETRY_AFTER_SECONDS = 60
_BASE64_OF_URLS = bytes.maketrans(b"+=/", b"-_~")


class UrlSigningError(RetryableError):
    """The key is missing, not readable or not the one that CloudFront has: a matter of operators."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"cannot sign URLs of private outputs: {reason}", retry_after=_RETRY_AFTER_SECONDS)


class PrivateUrlSigner:
    """Signs URLs for a lifetime. The key is read with the first URL, through the cache of secrets.

    `key_id` is CloudFront's ID of `public_key`, which is PEM; both are empty where nothing is configured.
    `read_private_key` returns PEM too.
    """

    def __init__(
        self,
        *,
        key_id: str,
        public_key: str,
        read_private_key: Callable[[], str],
        lifetime_seconds: int,
        clock: Clock,
    ) -> None:
        self._key_id = key_id
        self._public_key = public_key
        self._read_private_key = read_private_key
        self._lifetime = timedelta(seconds=lifetime_seconds)
        self._clock = clock

    def sign_urls(self, value: Any, folder: str | None) -> Any:
        """Return the JSON value with signed URLs of the private files in the folder.

        Raises UrlSigningError if there are any and they cannot be signed.
        """
        found = list(find_private_urls(value, folder))
        if not found:
            return value
        # Imported here so that responses without private files do not load it.
        from replicate_proxy.outputs.references import replace_references  # noqa: PLC0415

        sign = self._load_sign()
        expires = int((self._clock.now() + self._lifetime).timestamp())
        return replace_references(value, {path: self._sign_url(url, expires, sign) for path, url in found})

    def _sign_url(self, url: str, expires: int, sign: Callable[[bytes], bytes]) -> str:
        """Return the URL with its signature; botocore's CloudFrontSigner does not know hash algorithms."""
        condition = {"DateLessThan": {"AWS:EpochTime": expires}}
        policy = {"Statement": [{"Resource": url, "Condition": condition}]}
        signature = base64.b64encode(sign(json.dumps(policy, separators=(",", ":")).encode()))
        text = signature.translate(_BASE64_OF_URLS).decode()
        return f"{url}?Expires={expires}&Signature={text}&Key-Pair-Id={self._key_id}&Hash-Algorithm=SHA256"

    def _load_sign(self) -> Callable[[bytes], bytes]:
        if not self._key_id:
            raise UrlSigningError("no key is configured")
        try:
            return _build_sign(self._read_private_key(), self._public_key)
        except (ConfigurationError, RetryableError, ValueError) as error:
            logger.error("private outputs cannot be signed", reason=str(error))
            raise UrlSigningError(str(error)) from error


def find_private_urls(value: Any, folder: str | None) -> list[tuple[tuple[str | int, ...], str]]:
    """Return path and text of the URLs of private files in the folder (`private/…/`), whatever their host."""
    if not folder:
        return []

    def is_private(text: str) -> bool:
        _, scheme_end, rest = text.partition("://")
        return bool(scheme_end) and rest.partition("/")[2].startswith(folder)

    return list(find_strings(value, is_private))


def refuse_private(value: Any, folder: str | None) -> Any:
    """Return a value without private URLs; raise UrlSigningError for others. For those who sign none."""
    if find_private_urls(value, folder):
        raise UrlSigningError("no signer is configured")
    return value


@lru_cache(maxsize=4)
def _build_sign(private_key: str, public_key: str) -> Callable[[bytes], bytes]:
    """Return a function that signs a policy. Raises ValueError if the key is not that of `public_key`.

    CloudFront would refuse all URLs that another key has signed.
    """
    # Imported here since it takes 50 ms, and few responses have private files.
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = serialization.load_pem_private_key(private_key.encode(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("the private key is not an ECDSA key on the curve P-256")
    if key.public_key() != serialization.load_pem_public_key(public_key.encode()):
        raise ValueError("the private key does not belong to the public key of the deployment")
    return lambda policy: key.sign(policy, ec.ECDSA(hashes.SHA256()))
