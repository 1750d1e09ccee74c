"""JSON Web Tokens of the operator's identity provider (RFC 7519), verified by PyJWT."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import jwt

from replicate_proxy.auth.errors import UnauthenticatedError
from replicate_proxy.auth.principal import Principal
from replicate_proxy.auth.scopes import DEFAULT_SCOPES, Scope, known_scopes
from replicate_proxy.auth.tenants import is_tenant

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["JwtSettings", "JwtVerifier"]

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
    scopes: frozenset[Scope] = DEFAULT_SCOPES
    leeway_seconds: float = 30


class _Keys(Protocol):
    def key(self, kid: str) -> jwt.PyJWK: ...


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
            self._keys.key(kid),
            algorithms=_ALGORITHMS,
            issuer=self._settings.issuer,
            audience=self._settings.audience,
            leeway=self._settings.leeway_seconds,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        tenant, subject = claims.get(self._settings.tenant_claim), claims["sub"]
        if not isinstance(tenant, str) or not is_tenant(tenant):
            raise UnauthenticatedError(
                f"the token's claim {self._settings.tenant_claim} is not a tenant name"
            )
        if not _SUBJECT.fullmatch(subject):
            raise UnauthenticatedError("the token's subject is not 1 to 128 printable ASCII characters")
        granted = known_scopes(_words(claims.get(self._settings.scope_claim))) & self._settings.scopes
        return Principal(tenant=tenant, key_id=f"jwt:{subject}", scopes=granted)


def _words(claim: Any) -> list[str]:
    """Scopes come as one string with spaces (RFC 8693, 4.2) or, from some providers, as a list."""
    if isinstance(claim, str):
        return claim.split()
    return [word for word in claim if isinstance(word, str)] if isinstance(claim, list) else []
