"""Who is calling: an API key of ours or a token of the operator's identity provider."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.auth.errors import DeniedError, UnauthenticatedError
from replicate_proxy.auth.ip_ranges import allows
from replicate_proxy.auth.keys import ApiKey, KeyText, Standing, standing
from replicate_proxy.auth.policy import Grant
from replicate_proxy.auth.principal import Principal
from replicate_proxy.errors import ProxyError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.auth.ports import KeyLookup, TenantLookup, TokenVerifier
    from replicate_proxy.ports import Clock

__all__ = ["Authorizer"]

_TOUCH_EVERY = timedelta(hours=1)
_SCHEMES = frozenset({"bearer", "token"})  # Replicate's clients of before 2024 say `Token`
_LONGEST_CREDENTIAL = 8192


class Authorizer:
    """Turns an Authorization header into a Grant.

    `digest_key` gives the key of the stored digests; it is asked on every call, since reading it can fail.
    `tenants` is asked for the usage key of callers with a token; None where the stage counts nobody.
    """

    def __init__(
        self,
        *,
        keys: KeyLookup,
        tokens: TokenVerifier | None,
        digest_key: Callable[[], bytes],
        clock: Clock,
        tenants: TenantLookup | None = None,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._digest_key = digest_key
        self._clock = clock
        self._tenants = tenants

    def authorize(self, header: str, source_ip: str) -> Grant:
        """Raises UnauthenticatedError (401), DeniedError (403), RetryableError where none can tell (503)."""
        credential = _credential(header)
        presented = KeyText.read(credential)
        if presented is not None:
            return self._by_key(presented, source_ip)
        if self._tokens is not None and credential.startswith("eyJ"):
            return self._by_token(self._tokens.verify(credential))
        raise UnauthenticatedError("the credential is neither an API key nor a token")

    def _by_token(self, principal: Principal) -> Grant:
        tenant = self._tenants.get(principal.tenant) if self._tenants else None
        return Grant(principal, tenant.usage_key if tenant else None)

    def _by_key(self, presented: KeyText, source_ip: str) -> Grant:
        now = self._clock.now()
        key = self._keys.get(presented.id)
        worth = standing(key, presented, self._digest_key(), now)
        if key is None or worth in {Standing.WRONG, Standing.REVOKED}:
            raise UnauthenticatedError(f"the API key is {worth.value}")
        if worth is Standing.EXPIRED:
            raise DeniedError("The API key has expired")
        if key.allowed_ips and not allows(key.allowed_ips, source_ip):
            raise DeniedError("The API key does not allow this address")
        self._touch(key)
        return Grant(
            Principal(tenant=key.tenant, key_id=key.id, scopes=key.scopes, models=key.allowed_models),
            key.usage_key,
        )

    def _touch(self, key: ApiKey) -> None:
        """Notes the use, at most once an hour; failing to must not cost the request."""
        now = self._clock.now()
        if key.last_used_at is not None and now - key.last_used_at < _TOUCH_EVERY:
            return
        try:
            self._keys.touch(key.id, now)
        except ProxyError:
            logger.warning("could not record the use of a key", key_id=key.id)


def _credential(header: str) -> str:
    scheme, _, credential = header.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() not in _SCHEMES or not credential or len(credential) > _LONGEST_CREDENTIAL:
        raise UnauthenticatedError("there is no usable Authorization header")
    return credential
