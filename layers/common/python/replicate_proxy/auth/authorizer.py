"""The decision of the Lambda authorizer, and its response to API Gateway.

`Authorizer` checks a credential: an API key of ours or a token of the operator's identity provider.
`build_allow_policy` and `build_deny_policy` turn the result into the response format of AWS documentation,
"Output from an API Gateway Lambda authorizer": an IAM policy, a context of strings, and the usage key. API
Gateway caches that response for all routes, so the policy covers the whole stage and not only the method that
was called.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.errors import DeniedError, StaleKeyError, UnauthenticatedError
from replicate_proxy.auth.ip_ranges import is_ip_allowed
from replicate_proxy.auth.keys import ApiKey, ApiKeySecret, KeyStatus, verify_key
from replicate_proxy.auth.principal import Principal, Scope
from replicate_proxy.errors import ProxyError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.auth.ports import KeyLookup, TenantLookup, TokenVerifier
    from replicate_proxy.ports import Clock


_LAST_USED_INTERVAL = timedelta(hours=1)
_ACCEPTED_SCHEMES = frozenset({"bearer", "token"})  # Replicate's clients of before 2024 send `Token`
_MAX_CREDENTIAL_LENGTH = 8192
# Three base64url texts (RFC 7515, section 7.1). The first need not begin with `eyJ`, which is `{"` in base64:
# its JSON may have white space. API keys have no dots.
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


# API Gateway matches `*` with slashes, too: `*/admin/*` would include `GET/v1/models/admin/flux` (IAM User
# Guide, "IAM JSON policy elements: Resource").
_HTTP_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


@dataclass(frozen=True)
class AuthorizedCaller:
    """An accepted caller. API Gateway counts it in its usage plan by `usage_key`."""

    principal: Principal
    usage_key: str | None = field(default=None, repr=False)


class Authorizer:
    """Identifies the caller by the Authorization header.

    `load_digest_key` returns the key of the stored digests; it may fail, so it is called for every API key.
    `token_verifier` is None if only API keys are accepted. `tenants` says which tenants are being
    erased, and supplies the usage keys of callers with a token.
    """

    def __init__(
        self,
        *,
        keys: KeyLookup,
        token_verifier: TokenVerifier | None,
        load_digest_key: Callable[[], bytes],
        clock: Clock,
        tenants: TenantLookup,
    ) -> None:
        self._keys = keys
        self._token_verifier = token_verifier
        self._load_digest_key = load_digest_key
        self._clock = clock
        self._tenants = tenants

    def authorize(self, header: str, source_ip: str) -> AuthorizedCaller:
        """Return the caller.

        Raises UnauthenticatedError (401), DeniedError (403), or RetryableError if a store or the identity
        provider cannot be reached (503).
        """
        credential = _extract_credential(header)
        secret = ApiKeySecret.parse(credential)
        if secret is not None:
            return self._authorize_key(secret, source_ip)
        if self._token_verifier is not None and _TOKEN.fullmatch(credential):
            return self._authorize_token(self._token_verifier, credential)
        raise UnauthenticatedError("the credential is neither an API key nor a token")

    def _authorize_key(self, secret: ApiKeySecret, source_ip: str) -> AuthorizedCaller:
        key, outage = self._find_key(secret.key_id)
        status = verify_key(key, secret, self._load_digest_key(), self._clock.now())
        if outage is not None and status is KeyStatus.INVALID:
            # The secret may be newer than the copy.
            raise outage
        if key is None or status in {KeyStatus.INVALID, KeyStatus.REVOKED}:
            raise UnauthenticatedError(f"the API key is {status.value}")
        if status is KeyStatus.EXPIRED:
            raise DeniedError("The API key has expired")
        if key.allowed_ips and not is_ip_allowed(source_ip, key.allowed_ips):
            raise DeniedError("The API key does not allow this address")
        self._record_use(key)
        principal = Principal(
            tenant=key.tenant,
            key_id=key.id,
            scopes=key.scopes,
            models=key.allowed_models,
            has_budget=key.has_budget,
        )
        return AuthorizedCaller(principal, key.usage_key)

    def _find_key(self, key_id: str) -> tuple[ApiKey | None, StaleKeyError | None]:
        """Return the key, or a copy of it and why it cannot be read."""
        try:
            return self._keys.get(key_id), None
        except StaleKeyError as error:
            return error.key, error

    def _authorize_token(self, token_verifier: TokenVerifier, token: str) -> AuthorizedCaller:
        # Nothing is stored about a token: whether its tenant has a budget is read with each create.
        principal = replace(token_verifier.verify(token), has_budget=True)
        tenant = self._tenants.get(principal.tenant)
        if tenant is not None and tenant.erasing_since is not None:
            raise DeniedError("The tenant is being erased")
        return AuthorizedCaller(principal, tenant.usage_key if tenant else None)

    def _record_use(self, key: ApiKey) -> None:
        """Update `last_used_at` at most once an hour. A failure must not fail the request."""
        now = self._clock.now()
        if key.last_used_at is not None and now - key.last_used_at < _LAST_USED_INTERVAL:
            return
        try:
            self._keys.record_use(key.id, now)
        except ProxyError:
            logger.warning("cannot record use of API key", key_id=key.id)


def _extract_credential(header: str) -> str:
    scheme, _, credential = header.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() not in _ACCEPTED_SCHEMES or not credential or len(credential) > _MAX_CREDENTIAL_LENGTH:
        raise UnauthenticatedError("there is no usable Authorization header")
    return credential


def build_allow_policy(caller: AuthorizedCaller, method_arn: str) -> dict[str, Any]:
    """Build the response that lets the caller use the stage, but /admin only with the scope `admin`."""
    stage_arn = _parse_stage_arn(method_arn)
    principal = caller.principal
    statements = [_build_statement("Allow", f"{stage_arn}/*")]
    if Scope.ADMIN not in principal.scopes:
        statements += [_build_statement("Deny", f"{stage_arn}/{method}/admin/*") for method in _HTTP_METHODS]
    response = {
        "principalId": principal.key_id,
        "policyDocument": {"Version": "2012-10-17", "Statement": statements},
        "context": {
            "tenant": principal.tenant,
            "key_id": principal.key_id,
            "scopes": " ".join(sorted(principal.scopes)),
            "models": " ".join(principal.models),
            **({"has_budget": "true"} if principal.has_budget else {}),
        },
    }
    return response | ({"usageIdentifierKey": caller.usage_key} if caller.usage_key else {})


def build_deny_policy(reason: str, method_arn: str) -> dict[str, Any]:
    """Build the response that denies the stage; gateway responses show `$context.authorizer.reason`."""
    return {
        "principalId": "denied",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [_build_statement("Deny", f"{_parse_stage_arn(method_arn)}/*")],
        },
        "context": {"reason": reason},
    }


def _parse_stage_arn(method_arn: str) -> str:
    """Return `arn:…:execute-api:region:account:api/stage` of `arn:…:api/stage/METHOD/path`."""
    return "/".join(method_arn.split("/")[:2])


def _build_statement(effect: str, resource: str) -> dict[str, str]:
    return {"Effect": effect, "Action": "execute-api:Invoke", "Resource": resource}
