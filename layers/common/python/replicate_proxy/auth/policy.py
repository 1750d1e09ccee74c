"""The authorizer's answer to API Gateway: an IAM policy and the caller's context. Pure.

AWS documentation, "Output from an API Gateway Lambda authorizer": principalId, policyDocument, context
(strings, numbers or booleans only) and usageIdentifierKey. Since the answer is cached for all routes, it
speaks of the whole stage, not of the method that was called first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.scopes import Scope

if TYPE_CHECKING:
    from replicate_proxy.auth.principal import Principal

__all__ = ["Grant", "allowing", "denying"]


@dataclass(frozen=True)
class Grant:
    """An accepted caller; `usage_key` is the value API Gateway's usage plan counts it by."""

    principal: Principal
    usage_key: str | None = field(default=None, repr=False)


def allowing(grant: Grant, method_arn: str) -> dict[str, Any]:
    """Lets the caller use the stage; /admin only with the scope `admin`, before any function runs."""
    stage = _stage_arn(method_arn)
    statements = [_statement("Allow", f"{stage}/*")]
    if Scope.ADMIN not in grant.principal.scopes:
        statements.append(_statement("Deny", f"{stage}/*/admin/*"))
    answer = {
        "principalId": grant.principal.key_id,
        "policyDocument": {"Version": "2012-10-17", "Statement": statements},
        "context": {
            "tenant": grant.principal.tenant,
            "key_id": grant.principal.key_id,
            "scopes": " ".join(sorted(grant.principal.scopes)),
            "models": " ".join(grant.principal.models),
        },
    }
    return answer | ({"usageIdentifierKey": grant.usage_key} if grant.usage_key else {})


def denying(reason: str, method_arn: str) -> dict[str, Any]:
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
