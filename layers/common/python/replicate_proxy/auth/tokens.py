"""The identity provider's public keys (RFC 7517), cached.

Keys are fetched again when they are old, and when a token names a key that is not among them, since that is
what a key rotation looks like; at most once per `refresh_seconds`, so that invented key ids cost nothing.
While the provider cannot be reached, keys fetched within `max_stale_seconds` go on being used.

JSON Web Tokens of the operator's identity provider (RFC 7519), verified by PyJWT.
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
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.ports import Clock


_TIMEOUT_SECONDS = (2, 3)
_LARGEST = 256 * 1024


@dataclass(frozen=True)
class JwksSettings:
    """Where the keys are; how long they are fresh, kept between refreshes, and good without the provider.

    `allow_loopback` takes http on 127.0.0.1 too, for the local stack.
    """

    url: str
    max_age_seconds: float = 3600
    min_refresh_interval_seconds: float = 60
    max_stale_seconds: float = 6 * 3600
    allow_loopback: bool = False

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        local = self.allow_loopback and (address.scheme, address.hostname) == ("http", "127.0.0.1")
        if not address.hostname or (address.scheme != "https" and not local):
            raise ConfigurationError("JWKS_URL is not an https address")


class JwksClient:
    """Gives the key that a token names."""

    def __init__(self, settings: JwksSettings, *, session: requests.Session, clock: Clock) -> None:
        self._settings = settings
        self._session = session
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._failed = False

    def get_signing_key(self, kid: str) -> jwt.PyJWK:
        """Raises UnauthenticatedError where there is no such key, RetryableError where nobody can tell."""
        if kid not in self._keys or self._age(self._fetched_at) > self._settings.max_age_seconds:
            self._refresh()
        found = self._keys.get(kid)
        usable = self._age(self._fetched_at) <= self._settings.max_stale_seconds
        if found is not None and usable:
            return found
        if self._failed or not usable:
            raise RetryableError("the identity provider's keys cannot be fetched")
        raise UnauthenticatedError("the token names a key that its issuer does not have")

    def _age(self, moment: datetime | None) -> float:
        return float("inf") if moment is None else (self._clock.now() - moment) / timedelta(seconds=1)

    def _refresh(self) -> None:
        if self._age(self._tried_at) < self._settings.min_refresh_interval_seconds:
            return
        self._tried_at = self._clock.now()
        try:
            self._keys = _signing_keys(self._fetch())
        except (requests.RequestException, ValueError, jwt.PyJWTError) as error:
            self._failed = True
            logger.warning("the identity provider's keys could not be fetched", reason=type(error).__name__)
            count(Metric.AUTH_FROM_STALE_CACHE)
        else:
            self._failed = False
            self._fetched_at = self._tried_at

    def _fetch(self) -> bytes:
        """The provider's answer; a redirect is none, since it can lead anywhere."""
        with self._session.get(
            self._settings.url, timeout=_TIMEOUT_SECONDS, allow_redirects=False, stream=True
        ) as response:
            if response.status_code != requests.codes.ok:
                raise ValueError("the provider has no key set here")
            body = b""
            for chunk in response.iter_content(64 * 1024):
                body += chunk
                if len(body) > _LARGEST:
                    raise ValueError("the key set is too large")
        return body


def _signing_keys(body: bytes) -> dict[str, jwt.PyJWK]:
    loaded = json.loads(body)
    entries = loaded.get("keys") if isinstance(loaded, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("this is no key set")
    keys = jwt.PyJWKSet.from_dict({"keys": entries}).keys
    return {key.key_id: key for key in keys if key.key_id and key.public_key_use in {None, "sig"}}


# Signatures by private key only: with an HMAC algorithm in this list, the public key would be the secret.
_ALGORITHMS = ["RS256", "ES256"]
_SUBJECT = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True)
class JwtSettings:
    """Whose tokens are accepted, for whom, and which claims say the tenant and the scopes.

    `scopes` is the most a token may grant: `admin` is not among them unless the operator puts it there.
    `leeway_seconds` is the clock difference allowed for exp, nbf and iat.
    """

    issuer: str
    audience: str
    tenant_claim: str = "tenant"
    scope_claim: str = "scope"
    grantable_scopes: frozenset[Scope] = DEFAULT_SCOPES
    leeway_seconds: float = 30


class _Keys(Protocol):
    def get_signing_key(self, kid: str) -> jwt.PyJWK: ...


class JwtVerifier:
    """A TokenVerifier."""

    def __init__(self, settings: JwtSettings, keys: _Keys) -> None:
        self._settings = settings
        self._keys = keys

    def verify(self, token: str) -> Principal:
        try:
            return self._principal(self._claims(token))
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(f"the token is refused: {type(error).__name__}") from error

    def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        kid = header.get("kid")
        if header.get("alg") not in _ALGORITHMS or not isinstance(kid, str):
            raise UnauthenticatedError("the token names no key, or an algorithm that is not accepted")
        return jwt.decode(
            token,
            self._keys.get_signing_key(kid),
            algorithms=_ALGORITHMS,
            issuer=self._settings.issuer,
            audience=self._settings.audience,
            leeway=self._settings.leeway_seconds,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        tenant, subject = claims.get(self._settings.tenant_claim), claims["sub"]
        if not isinstance(tenant, str) or not is_tenant_name(tenant):
            raise UnauthenticatedError(
                f"the token's claim {self._settings.tenant_claim} is not a tenant name"
            )
        if not _SUBJECT.fullmatch(subject):
            raise UnauthenticatedError("the token's subject is not 1 to 128 printable ASCII characters")
        granted = (
            parse_scopes(_words(claims.get(self._settings.scope_claim))) & self._settings.grantable_scopes
        )
        return Principal(tenant=tenant, key_id=f"jwt:{subject}", scopes=granted)


def _words(claim: Any) -> list[str]:
    """Scopes come as one string with spaces (RFC 8693, 4.2) or, from some providers, as a list."""
    if isinstance(claim, str):
        return claim.split()
    return [word for word in claim if isinstance(word, str)] if isinstance(claim, list) else []
