"""The authorizer's response to API Gateway."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest

from replicate_proxy.auth.authorizer import AuthorizedCaller, build_allow_policy, build_deny_policy
from replicate_proxy.auth.principal import Principal

STAGE_ARN = "arn:aws:execute-api:eu-central-1:123456789012:abc123/prod"
METHOD_ARN = f"{STAGE_ARN}/GET/v1/predictions/x"


def evaluate_policy(response: dict[str, Any], arn: str) -> str:
    """Return the effect by IAM's rule: an explicit Deny wins, and without an Allow the result is Deny."""
    effects = {
        statement["Effect"]
        for statement in response["policyDocument"]["Statement"]
        if fnmatchcase(arn, statement["Resource"]) and statement["Action"] == "execute-api:Invoke"
    }
    return "Deny" if "Deny" in effects or not effects else "Allow"


def make_caller(*scopes: str, models: tuple[str, ...] = (), usage_key: str | None = None) -> AuthorizedCaller:
    return AuthorizedCaller(Principal("acme", "k1", frozenset(scopes), models), usage_key)


def test_allow_policy_covers_all_routes_because_it_is_cached() -> None:
    response = build_allow_policy(make_caller("predictions:read"), METHOD_ARN)
    for path in ("GET/v1/predictions/x", "POST/v1/predictions", "POST/", "DELETE/v1/files/a"):
        assert evaluate_policy(response, f"{STAGE_ARN}/{path}") == "Allow"


def test_allow_policy_excludes_other_stages_and_apis() -> None:
    response = build_allow_policy(make_caller("admin"), METHOD_ARN)
    for stage_arn in (STAGE_ARN.replace("/prod", "/dev"), STAGE_ARN.replace("abc123", "other")):
        assert evaluate_policy(response, f"{stage_arn}/GET/v1/predictions") == "Deny"


def test_allow_policy_includes_admin_routes_only_with_admin_scope() -> None:
    writer_response = build_allow_policy(make_caller("predictions:write"), METHOD_ARN)
    admin_response = build_allow_policy(make_caller("admin"), METHOD_ARN)
    for method in ("GET", "POST", "DELETE"):
        assert evaluate_policy(writer_response, f"{STAGE_ARN}/{method}/admin/keys") == "Deny"
        assert evaluate_policy(admin_response, f"{STAGE_ARN}/{method}/admin/keys") == "Allow"


@pytest.mark.parametrize("path", ["v1/models/admin/flux", "v1/collections/admin/x", "v1/webhooks/admin/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_allow_policy_includes_other_routes_with_a_segment_admin(method: str, path: str) -> None:
    response = build_allow_policy(make_caller("predictions:read"), METHOD_ARN)
    assert evaluate_policy(response, f"{STAGE_ARN}/{method}/{path}") == "Allow"
    assert evaluate_policy(response, f"{STAGE_ARN}/{method}/admin/keys") == "Deny"


def test_context_is_flat_and_parses_back_to_principal() -> None:
    caller = make_caller("predictions:read", "files:write", models=("a/b", "c/*"))
    response = build_allow_policy(caller, METHOD_ARN)
    assert response["context"] == {
        "tenant": "acme",
        "key_id": "k1",
        "scopes": "files:write predictions:read",
        "models": "a/b c/*",
    }
    assert Principal.from_authorizer_context(response["context"]) == caller.principal


def test_usage_key_is_present_only_when_set() -> None:
    assert "usageIdentifierKey" not in build_allow_policy(make_caller(), METHOD_ARN)
    response = build_allow_policy(make_caller(usage_key="value"), METHOD_ARN)
    assert response["usageIdentifierKey"] == "value"


def test_deny_policy_covers_stage_and_states_reason() -> None:
    response = build_deny_policy("The API key has expired", METHOD_ARN)
    assert evaluate_policy(response, METHOD_ARN) == "Deny"
    assert evaluate_policy(response, f"{STAGE_ARN}/POST/v1/predictions") == "Deny"
    assert response["context"] == {"reason": "The API key has expired"}
