"""The API: authorization, request validation, caching, gateway responses and throttling."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.refused import REFUSED_OPERATIONS
from replicate_proxy.services.catalog import CATALOG_ROUTES
from tests.template.effective_permissions import as_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.template.stack import Stack


# Routes without an authorizer, and why each needs none.
OPEN_ROUTES = {
    ("get", "/health"): "says only whether the service answers",
    ("options", "/{proxy+}"): "a preflight request carries no credentials",
    ("options", "/"): "a preflight request carries no credentials",
    ("post", "/webhooks/replicate"): "Replicate signs the body, and the URL carries a token of the job",
    ("get", "/v1/files/{id}/download"): "the URL is signed and expires",
    ("head", "/v1/files/{id}/download"): "the URL is signed and expires",
    ("get", "/streams/{proxy+}"): "the URL is signed; CloudFront forwards no credentials",
    ("get", "/console"): "the function checks the session; browsers send it as a cookie",
    ("get", "/console/{proxy+}"): "the function checks the session; browsers send it as a cookie",
    ("post", "/console/{proxy+}"): "the function checks the session; browsers send it as a cookie",
    ("get", "/openapi.json"): "the document is public",
    ("get", "/docs"): "shows the public document",
}
# Routes that Replicate and CloudFront call, from addresses that change.
ROUTES_FOR_ALL_ADDRESSES = {
    ("get", "/streams/{proxy+}"),
    ("post", "/webhooks/replicate"),
    ("get", "/v1/files/{id}/download"),
    ("head", "/v1/files/{id}/download"),
}
# Routes with a writing method whose body has no model, and why.
ROUTES_WITHOUT_MODEL = {
    ("post", "/v1/batches/{id}/cancel"): "has no body",
    ("post", "/v1/predictions/{id}/cancel"): "has no body",
    ("post", "/v1/uploads/{id}/complete"): "has no body",
    ("post", "/v1/files"): "multipart/form-data, for which API Gateway has no models",
    ("post", "/console/{proxy+}"): "a form, for which API Gateway has no models",
    **{
        (operation.method.lower(), operation.resource): "refused, whatever its body is"
        for operation in REFUSED_OPERATIONS
    },
}
_STATUS_BY_RESPONSE = {
    "UNAUTHORIZED": 401,
    "ACCESS_DENIED": 403,
    "MISSING_AUTHENTICATION_TOKEN": 404,
    "RESOURCE_NOT_FOUND": 404,
    "REQUEST_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "BAD_REQUEST_BODY": 422,
    "BAD_REQUEST_PARAMETERS": 422,
    "THROTTLED": 429,
    "QUOTA_EXCEEDED": 429,
    "AUTHORIZER_FAILURE": 503,
    "AUTHORIZER_CONFIGURATION_ERROR": 503,
    "INTEGRATION_TIMEOUT": 504,
}
_CACHE_KEY_HEADERS = ("Authorization", "Origin")
_ALLOW_ALL = {
    "Effect": "Allow",
    "Principal": "*",
    "Action": "execute-api:Invoke",
    "Resource": "execute-api:/*",
}
_METHODS_WITH_JSON_BODY = {"post", "put", "patch"}

type Method = tuple[str, str, dict[str, Any]]
"""HTTP method in lower case, path, and its definition."""


def get_definition(stack: Stack) -> dict[str, Any]:
    """Return the Swagger document of the API."""
    (api,) = stack.of_type("ApiGateway::RestApi")
    document: dict[str, Any] = api.properties["Body"]
    return document


def iterate_methods(stack: Stack) -> Iterator[Method]:
    for path, item in get_definition(stack)["paths"].items():
        for name, method in item.items():
            yield name.lower(), path, method


def check_authorization(stack: Stack) -> list[str]:
    """Every route has the authorizer, except the open ones; usage plans count every authorized route."""
    schemes = get_definition(stack)["securityDefinitions"]
    authorizers = {name for name, scheme in schemes.items() if "x-amazon-apigateway-authorizer" in scheme}
    violations = []
    for name, path, method in iterate_methods(stack):
        required = {scheme for entry in method.get("security", []) for scheme in entry}
        if (name, path) in OPEN_ROUTES:
            if required & authorizers:
                violations.append(f"{name} {path}: listed as open but has an authorizer")
        elif not required & authorizers:
            violations.append(f"{name} {path}: has no authorizer")
        elif stack.condition_holds("HasUsagePlans") and "api_key" not in required:
            violations.append(f"{name} {path}: usage plans do not count it")
    return violations


def check_request_validation(stack: Stack) -> list[str]:
    document = get_definition(stack)
    validators = document["x-amazon-apigateway-request-validators"]
    default = document.get("x-amazon-apigateway-request-validator", "")
    violations = []
    for name, path, method in iterate_methods(stack):
        validator = validators.get(method.get("x-amazon-apigateway-request-validator", default), {})
        if not validator.get("validateRequestParameters"):
            violations.append(f"{name} {path}: parameters are not validated")
        if name not in _METHODS_WITH_JSON_BODY or (name, path) in ROUTES_WITHOUT_MODEL:
            continue
        models = [
            parameter["schema"]["$ref"].rsplit("/", 1)[-1]
            for parameter in method.get("parameters", [])
            if parameter["in"] == "body"
        ]
        if not validator.get("validateRequestBody") or not models or models[0] not in document["definitions"]:
            violations.append(f"{name} {path}: the body is not validated")
    return violations


def check_cache_keys(stack: Stack) -> list[str]:
    """No cached response reaches another request than it was made for.

    The response depends on the caller and the origin of the page, and on what the catalog reads of a request.
    """
    catalog_routes = {route.resource: route for route in CATALOG_ROUTES}
    (stage,) = stack.of_type("ApiGateway::Stage")
    cached = [setting for setting in stage.properties["MethodSettings"] if setting.get("CachingEnabled")]
    keys_by_route = {
        (name, path): method["x-amazon-apigateway-integration"].get("cacheKeyParameters", [])
        for name, path, method in iterate_methods(stack)
    }
    violations = []
    for setting in cached:
        route = (setting["HttpMethod"].lower(), setting["ResourcePath"][1:].replace("~1", "/"))
        keys = keys_by_route.get(route, [])
        if route[0] != "get":
            violations.append(f"{route}: only GET may be cached")
        if route[1] not in catalog_routes:
            violations.append(f"{route}: it is not known what the response depends on")
            continue
        expected = {f"method.request.header.{name}" for name in _CACHE_KEY_HEADERS}
        expected |= {
            f"method.request.path.{part[1:-1]}" for part in route[1].split("/") if part.startswith("{")
        }
        expected |= {
            f"method.request.querystring.{name}" for name in catalog_routes[route[1]].query_parameters
        }
        violations += [f"{route}: the cache key lacks {name}" for name in sorted(expected - set(keys))]
        if not setting.get("CacheDataEncrypted"):
            violations.append(f"{route}: the cache is not encrypted")
    return violations


def check_gateway_responses(stack: Stack) -> list[str]:
    """Errors of API Gateway itself are problem documents with the right status, headers and CORS origin."""
    responses = get_definition(stack)["x-amazon-apigateway-gateway-responses"]
    violations = [
        f"{name}: status is not {status}"
        for name, status in _STATUS_BY_RESPONSE.items()
        if int(responses.get(name, {}).get("statusCode", 0)) != status
    ]
    allowed_origin = _get_allowed_origin(stack)
    for name, response in responses.items():
        headers = response["responseParameters"]
        problem = json.loads(response["responseTemplates"]["application/json"])
        if headers.get("gatewayresponse.header.Content-Type") != "'application/problem+json'":
            violations.append(f"{name}: content type is not application/problem+json")
        if "detail" not in problem or problem.get("status", 0) != int(response.get("statusCode", 0)):
            violations.append(f"{name}: status of body and response differ")
        if problem.get("status") in {429, 503}:
            header = headers.get("gatewayresponse.header.Retry-After")
            violations += _check_retry_after(name, header, problem.get("retry_after"))
        if problem.get("status") == 504 and headers.get("gatewayresponse.header.X-Should-Retry") != "'false'":
            violations.append(f"{name}: version 2 of Replicate's Python client repeats the create")
        if headers.get("gatewayresponse.header.Access-Control-Allow-Origin") != allowed_origin:
            violations.append(f"{name}: allowed origin is not {allowed_origin}")
    return violations


def _check_retry_after(name: str, header: str | None, seconds: int | None) -> list[str]:
    """Body and header say the same. A quota ends with the month, and the header would stop clients for hours.

    PyPI `replicate` 1.0.7 waits as long as the header says, before each of nine repetitions of a GET.
    """
    if name == "QUOTA_EXCEEDED":
        return [f"{name}: clients would wait for {header or seconds} s"] if header or seconds else []
    if seconds is None or header != f"'{seconds}'":
        return [f"{name}: Retry-After is missing or differs from the body"]
    return []


def _get_allowed_origin(stack: Stack) -> str | None:
    """Return the header's value: the single listed origin, or any, since the response cannot choose one."""
    origins = stack.parameters["CorsAllowedOrigins"].split(",")
    if origins == [""]:
        return None
    return f"'{origins[0]}'" if len(origins) == 1 else "'*'"


def check_throttling(stack: Stack) -> list[str]:
    """All methods are throttled, and none has metrics of its own, which cost extra.

    A method with settings of its own inherits none.

    API Gateway API Reference, "Stage", `methodSettings`: what an entry leaves out has API Gateway's default.
    """
    violations = []
    for stage in stack.of_type("ApiGateway::Stage"):
        settings = stage.properties["MethodSettings"]
        if not any(setting["ResourcePath"] == "/*" and setting["HttpMethod"] == "*" for setting in settings):
            violations.append(f"{stage.id}: no settings for all methods")
        violations += [
            f"{stage.id}: {setting['ResourcePath']} has no {name}"
            for setting in settings
            for name in ("ThrottlingRateLimit", "ThrottlingBurstLimit")
            if name not in setting
        ]
        violations += [
            f"{stage.id}: {setting['ResourcePath']} has metrics of its own, which ApiSeconds has already"
            for setting in settings
            if setting.get("MetricsEnabled")
        ]
    return violations


def check_resource_policy(stack: Stack) -> list[str]:
    """With AllowedCidrs, other addresses reach what Replicate and CloudFront call, and nothing else.

    API Gateway Developer Guide, "How API Gateway resource policies affect authorization workflow": where a
    Lambda authorizer allows a call, only an explicit Deny of the resource policy keeps the caller out.

    Without AllowedCidrs, there must be a policy too: it replaces one that denied other addresses. An API can
    keep its policy where none is declared any more (https://github.com/aws/aws-cdk/issues/21840).
    """
    policy = get_definition(stack).get("x-amazon-apigateway-policy")
    if policy is None:
        return ["resource policy: an earlier one may stay"]
    if not stack.condition_holds("HasAllowedCidrs"):
        return [] if policy["Statement"] == [_ALLOW_ALL] else ["resource policy: denies callers"]
    violations = [
        f"resource policy: {key} cannot be used in the short form"
        for statement in policy["Statement"]
        for key in statement
        if key.startswith("Not")
    ]
    for name, path, _ in iterate_methods(stack):
        for request in (_build_request_path(path), _encode(_build_request_path(path))):
            denied = _is_denied(policy, f"execute-api:/prod/{name.upper()}{request}")
            is_open = (name, path) in ROUTES_FOR_ALL_ADDRESSES and "%" not in request
            if denied == is_open:
                problem = "is closed to its callers" if denied else "is open to all, add it to the Deny"
                violations.append(f"{name} {request}: {problem}")
    return violations


def _is_denied(policy: dict[str, Any], resource: str) -> bool:
    """Return whether an address outside of the allowed ranges is denied."""
    return any(
        fnmatchcase(resource, pattern)
        for statement in policy["Statement"]
        if statement["Effect"] == "Deny"
        for pattern in as_list(statement.get("Resource", []))
    )


def _build_request_path(path: str) -> str:
    """Return a path that matches the route."""
    return re.sub(r"{[^}]*\+}", "a/b", path).replace("{id}", "0" * 26).replace("{", "").replace("}", "")


def _encode(path: str) -> str:
    """Spell the last character of a path in another way that means the same."""
    return path if path == "/" else f"{path[:-1]}%{ord(path[-1]):02X}"
