"""JSON Web Tokens of the operator's identity provider (RFC 7519), verified by PyJWT.

`JwtVerifier` checks a token and maps its claims to a principal. `JwksClient` supplies the public keys: it
fetches the provider's key set (RFC 7517) and caches it. The set is fetched again when it is old, and when a
token names a key that is not in it, since that is how a key rotation shows; never more often than
`min_refresh_interval_seconds`, so that invented key IDs cause no load. While the provider cannot be reached,
a key set that is at most `max_stale_seconds` old stays in use.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import jwt
import requests

from replicate_proxy.auth.errors import UnauthenticatedError
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Principal, Scope, parse_scopes
from replicate_proxy.auth.tenants import is_tenant_name
from replicate_proxy.errors import ConfigurationError, RetryableError
from replicate_proxy.net.deadline import call_within
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.ports import Clock


# Asymmetric algorithms only: if an HMAC algorithm were accepted, the public key would serve as its secret.
_ALGORITHMS = ["RS256", "ES256"]
_SUBJECT_PATTERN = re.compile(r"[\x21-\x7e]{1,128}")
_CONNECT_AND_READ_TIMEOUT_SECONDS = (2, 3)
# For all of it: name resolution, each address of the host, and a slow body. The authorizer has ten seconds,
# and the keys that it has cached are lost if it exceeds them.
_FETCH_SECONDS = 5.0
_MAX_KEY_SET_BYTES = 256 * 1024
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class JwtSettings:
    """Which tokens are accepted, and which claims hold the tenant and the scopes.

    A token grants at most `grantable_scopes`; `admin` is not among them unless the operator adds it.
    `leeway_seconds` is the clock difference allowed for `exp`, `nbf` and `iat`.
    """

    issuer: str
    audience: str
    tenant_claim: str = "tenant"
    scope_claim: str = "scope"
    grantable_scopes: frozenset[Scope] = DEFAULT_SCOPES
    leeway_seconds: float = 30


class SigningKeys(Protocol):
    """The identity provider's public keys."""

    def get_signing_key(self, key_id: str) -> jwt.PyJWK:
        """Raise UnauthenticatedError for an unknown key, RetryableError if the keys cannot be fetched."""


class JwtVerifier:
    """A TokenVerifier for JSON Web Tokens."""

    def __init__(self, settings: JwtSettings, signing_keys: SigningKeys) -> None:
        self._settings = settings
        self._signing_keys = signing_keys

    def verify(self, token: str) -> Principal:
        """Return the principal that the token identifies.

        Raises UnauthenticatedError for a bad token, RetryableError if the provider's keys cannot be fetched.
        """
        try:
            claims = self._verify_signature(token)
        # PyJWT passes on what some texts and numbers raise: deep nesting, an `exp` of 1e400 or null.
        except (jwt.PyJWTError, ArithmeticError, RecursionError, TypeError, ValueError) as error:
            raise UnauthenticatedError(f"the token is invalid: {type(error).__name__}") from error
        return self._build_principal(claims)

    def _verify_signature(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that is signed by the issuer and valid now."""
        header = jwt.get_unverified_header(token)
        key_id = header.get("kid")
        if header.get("alg") not in _ALGORITHMS or not isinstance(key_id, str):
            raise UnauthenticatedError("the token names no key, or an algorithm that is not accepted")
        return jwt.decode(
            token,
            self._signing_keys.get_signing_key(key_id),
            algorithms=_ALGORITHMS,
            issuer=self._settings.issuer,
            audience=self._settings.audience,
            leeway=self._settings.leeway_seconds,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )

    def _build_principal(self, claims: Mapping[str, Any]) -> Principal:
        tenant, subject = claims.get(self._settings.tenant_claim), claims["sub"]
        if not isinstance(tenant, str) or not is_tenant_name(tenant):
            raise UnauthenticatedError(
                f"the token's claim {self._settings.tenant_claim} is not a tenant name"
            )
        if not _SUBJECT_PATTERN.fullmatch(subject):
            raise UnauthenticatedError("the token's subject is not 1 to 128 printable ASCII characters")
        claimed_scopes = parse_scopes(_split_scope_claim(claims.get(self._settings.scope_claim)))
        return Principal(
            tenant=tenant,
            key_id=f"jwt:{subject}",
            scopes=claimed_scopes & self._settings.grantable_scopes,
        )


def _split_scope_claim(claim: Any) -> list[str]:
    """Split one string with spaces (RFC 8693, section 4.2); some providers send a list instead."""
    if isinstance(claim, str):
        return claim.split()
    return [name for name in claim if isinstance(name, str)] if isinstance(claim, list) else []


@dataclass(frozen=True)
class JwksSettings:
    """The address of the key set, and the times of its cache.

    The set is fetched again after `max_age_seconds`. `allow_loopback` accepts http on 127.0.0.1, for the
    local stack.
    """

    url: str
    max_age_seconds: float = 3600
    min_refresh_interval_seconds: float = 60
    max_stale_seconds: float = 6 * 3600
    allow_loopback: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigurationError if the URL is not an HTTPS URL."""
        url = urlsplit(self.url)
        is_loopback = (url.scheme, url.hostname) == ("http", "127.0.0.1")
        if not url.hostname or (url.scheme != "https" and not (self.allow_loopback and is_loopback)):
            raise ConfigurationError("JWKS_URL is not an HTTPS URL")


class JwksClient:
    """The SigningKeys of an identity provider, fetched over HTTPS and cached."""

    def __init__(self, settings: JwksSettings, *, session: requests.Session, clock: Clock) -> None:
        self._settings = settings
        self._session = session
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: datetime | None = None
        self._last_attempt_at: datetime | None = None
        self._last_attempt_failed = False

    def get_signing_key(self, key_id: str) -> jwt.PyJWK:
        """Return the public key with this ID.

        Raises UnauthenticatedError if the provider has no such key, RetryableError if the set cannot be
        fetched and the cached one is too old or does not contain the key.
        """
        if (
            key_id not in self._keys
            or self._calculate_age_seconds(self._fetched_at) > self._settings.max_age_seconds
        ):
            self._refresh()
        key = self._keys.get(key_id)
        is_usable = self._calculate_age_seconds(self._fetched_at) <= self._settings.max_stale_seconds
        if key is not None and is_usable:
            return key
        if self._last_attempt_failed or not is_usable:
            raise RetryableError("the identity provider's keys cannot be fetched")
        raise UnauthenticatedError("the token names a key that its issuer does not have")

    def _calculate_age_seconds(self, moment: datetime | None) -> float:
        return float("inf") if moment is None else (self._clock.now() - moment) / timedelta(seconds=1)

    def _refresh(self) -> None:
        """Fetch the key set unless the last attempt is too recent. If that fails, the old set is kept."""
        if self._calculate_age_seconds(self._last_attempt_at) < self._settings.min_refresh_interval_seconds:
            return
        self._last_attempt_at = self._clock.now()
        try:
            body = call_within(_FETCH_SECONDS, self._fetch_key_set, thread_name="fetch-keys")
            self._keys = _parse_key_set(body)
        except (
            requests.RequestException,
            TimeoutError,
            ValueError,
            RecursionError,
            jwt.PyJWTError,
        ) as error:
            self._last_attempt_failed = True
            logger.warning("cannot fetch key set of identity provider", reason=type(error).__name__)
            count(Metric.AUTH_FROM_STALE_CACHE)
        else:
            self._last_attempt_failed = False
            self._fetched_at = self._last_attempt_at

    def _fetch_key_set(self) -> bytes:
        """Return the response body. Redirects are not followed, since they can lead to any host."""
        with self._session.get(
            self._settings.url,
            timeout=_CONNECT_AND_READ_TIMEOUT_SECONDS,
            allow_redirects=False,
            stream=True,
        ) as response:
            if response.status_code != requests.codes.ok:
                raise ValueError("the response is not a key set")
            body = b""
            for chunk in response.iter_content(_CHUNK_BYTES):
                body += chunk
                if len(body) > _MAX_KEY_SET_BYTES:
                    raise ValueError("the key set is too large")
        return body


def _parse_key_set(body: bytes) -> dict[str, jwt.PyJWK]:
    """Return the signing keys of a JSON Web Key Set by their ID."""
    document = json.loads(body)
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("the document is not a key set")
    keys = jwt.PyJWKSet.from_dict({"keys": entries}).keys
    return {
        key.key_id: key
        for key in keys
        # Either can be any JSON value.
        if isinstance(key.key_id, str) and key.key_id and key.public_key_use in (None, "sig")
    }
