"""The authorizer's answer to API Gateway."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from replicate_proxy.auth.authorizer import AuthorizedCaller, build_allow_policy, build_deny_policy
from replicate_proxy.auth.principal import Principal

STAGE = "arn:aws:execute-api:eu-central-1:123456789012:abc123/prod"
METHOD = f"{STAGE}/GET/v1/predictions/x"


def decision(answer: dict[str, Any], arn: str) -> str:
    """IAM's rule: an explicit Deny wins, else an Allow is needed."""
    effects = {
        entry["Effect"]
        for entry in answer["policyDocument"]["Statement"]
        if fnmatchcase(arn, entry["Resource"]) and entry["Action"] == "execute-api:Invoke"
    }
    return "Deny" if "Deny" in effects or not effects else "Allow"


def grant(*scopes: str, models: tuple[str, ...] = (), usage_key: str | None = None) -> AuthorizedCaller:
    return AuthorizedCaller(Principal("acme", "k1", frozenset(scopes), models), usage_key)


def test_the_policy_of_one_route_is_good_for_all_since_it_is_cached() -> None:
    answer = build_allow_policy(grant("predictions:read"), METHOD)
    for path in ("GET/v1/predictions/x", "POST/v1/predictions", "POST/", "DELETE/v1/files/a"):
        assert decision(answer, f"{STAGE}/{path}") == "Allow"


def test_no_policy_reaches_another_stage_or_api() -> None:
    answer = build_allow_policy(grant("admin"), METHOD)
    for arn in (STAGE.replace("/prod", "/dev"), STAGE.replace("abc123", "other")):
        assert decision(answer, f"{arn}/GET/v1/predictions") == "Deny"


def test_admin_routes_need_the_scope_before_any_function_runs() -> None:
    for verb in ("GET", "POST", "DELETE"):
        assert (
            decision(build_allow_policy(grant("predictions:write"), METHOD), f"{STAGE}/{verb}/admin/keys")
            == "Deny"
        )
        assert decision(build_allow_policy(grant("admin"), METHOD), f"{STAGE}/{verb}/admin/keys") == "Allow"


def test_the_context_is_what_the_functions_read_and_flat_as_api_gateway_wants_it() -> None:
    given = grant("predictions:read", "files:write", models=("a/b", "c/*"))
    answer = build_allow_policy(given, METHOD)
    assert answer["context"] == {
        "tenant": "acme",
        "key_id": "k1",
        "scopes": "files:write predictions:read",
        "models": "a/b c/*",
    }
    assert Principal.from_authorizer_context(answer["context"]) == given.principal


def test_the_usage_key_is_there_only_where_there_is_one() -> None:
    assert "usageIdentifierKey" not in build_allow_policy(grant(), METHOD)
    assert build_allow_policy(grant(usage_key="value"), METHOD)["usageIdentifierKey"] == "value"


def test_a_denial_covers_the_stage_and_says_why() -> None:
    answer = build_deny_policy("The API key has expired", METHOD)
    assert decision(answer, METHOD) == "Deny"
    assert decision(answer, f"{STAGE}/POST/v1/predictions") == "Deny"
    assert answer["context"] == {"reason": "The API key has expired"}
