"""The authorizer's answer to API Gateway: an IAM policy and the caller's context. Pure.

AWS documentation, "Output from an API Gateway Lambda authorizer": principalId, policyDocument, context
(strings, numbers or booleans only) and usageIdentifierKey. Since the answer is cached for all routes, it
speaks of the whole stage, not of the method that was called first.

Who is calling: an API key of ours or a token of the operator's identity provider.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.errors import DeniedError, UnauthenticatedError
from replicate_proxy.auth.keys import ApiKey, ApiKeySecret, KeyStatus, is_ip_allowed, verify_key
from replicate_proxy.auth.principal import Principal, Scope
from replicate_proxy.errors import ProxyError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.auth.ports import KeyLookup, TenantLookup, TokenVerifier
    from replicate_proxy.ports import Clock


@dataclass(frozen=True)
class AuthorizedCaller:
    """An accepted caller; `usage_key` is the value API Gateway's usage plan counts it by."""

    principal: Principal
    usage_key: str | None = field(default=None, repr=False)


def build_allow_policy(caller: AuthorizedCaller, method_arn: str) -> dict[str, Any]:
    """Lets the caller use the stage; /admin only with the scope `admin`, before any function runs."""
    stage = _stage_arn(method_arn)
    statements = [_statement("Allow", f"{stage}/*")]
    if Scope.ADMIN not in caller.principal.scopes:
        statements.append(_statement("Deny", f"{stage}/*/admin/*"))
    answer = {
        "principalId": caller.principal.key_id,
        "policyDocument": {"Version": "2012-10-17", "Statement": statements},
        "context": {
            "tenant": caller.principal.tenant,
            "key_id": caller.principal.key_id,
            "scopes": " ".join(sorted(caller.principal.scopes)),
            "models": " ".join(caller.principal.models),
        },
    }
    return answer | ({"usageIdentifierKey": caller.usage_key} if caller.usage_key else {})


def build_deny_policy(reason: str, method_arn: str) -> dict[str, Any]:
    """Refuses the caller the whole stage; gateway responses may quote `$context.authorizer.reason`."""
    return {
        "principalId": "denied",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [_statement("Deny", f"{_stage_arn(method_arn)}/*")],
        },
        "context": {"reason": reason},
    }


def _stage_arn(method_arn: str) -> str:
    """`arn:…:execute-api:region:account:api/stage` of `arn:…:api/stage/METHOD/path`."""
    return "/".join(method_arn.split("/")[:2])


def _statement(effect: str, resource: str) -> dict[str, str]:
    return {"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource}


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

    def authorize(self, header: str, source_ip: str) -> AuthorizedCaller:
        """Raises UnauthenticatedError (401), DeniedError (403), RetryableError where none can tell (503)."""
        credential = _credential(header)
        presented = ApiKeySecret.parse(credential)
        if presented is not None:
            return self._by_key(presented, source_ip)
        if self._tokens is not None and credential.startswith("eyJ"):
            return self._by_token(self._tokens.verify(credential))
        raise UnauthenticatedError("the credential is neither an API key nor a token")

    def _by_token(self, principal: Principal) -> AuthorizedCaller:
        tenant = self._tenants.get(principal.tenant) if self._tenants else None
        return AuthorizedCaller(principal, tenant.usage_key if tenant else None)

    def _by_key(self, presented: ApiKeySecret, source_ip: str) -> AuthorizedCaller:
        now = self._clock.now()
        key = self._keys.get(presented.key_id)
        worth = verify_key(key, presented, self._digest_key(), now)
        if key is None or worth in {KeyStatus.INVALID, KeyStatus.REVOKED}:
            raise UnauthenticatedError(f"the API key is {worth.value}")
        if worth is KeyStatus.EXPIRED:
            raise DeniedError("The API key has expired")
        if key.allowed_ips and not is_ip_allowed(key.allowed_ips, source_ip):
            raise DeniedError("The API key does not allow this address")
        self._touch(key)
        return AuthorizedCaller(
            Principal(tenant=key.tenant, key_id=key.id, scopes=key.scopes, models=key.allowed_models),
            key.usage_key,
        )

    def _touch(self, key: ApiKey) -> None:
        """Notes the use, at most once an hour; failing to must not cost the request."""
        now = self._clock.now()
        if key.last_used_at is not None and now - key.last_used_at < _TOUCH_EVERY:
            return
        try:
            self._keys.record_use(key.id, now)
        except ProxyError:
            logger.warning("could not record the use of a key", key_id=key.id)


def _credential(header: str) -> str:
    scheme, _, credential = header.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() not in _SCHEMES or not credential or len(credential) > _LONGEST_CREDENTIAL:
        raise UnauthenticatedError("there is no usable Authorization header")
    return credential
