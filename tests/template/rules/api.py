"""The API: authorization, request validation, caching, gateway responses and throttling."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

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
}
# Routes with a writing method whose body has no model, and why.
ROUTES_WITHOUT_MODEL = {
    ("post", "/v1/batches/{id}/cancel"): "has no body",
    ("post", "/v1/predictions/{id}/cancel"): "has no body",
    ("post", "/v1/files"): "multipart/form-data, for which API Gateway has no models",
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
    """No cached response reaches another caller, or another path, than it was made for."""
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
        if "method.request.header.Authorization" not in keys:
            violations.append(f"{route}: the cache key lacks the caller")
        path_parameters = {
            f"method.request.path.{part[1:-1]}" for part in route[1].split("/") if part.startswith("{")
        }
        missing = sorted(path_parameters - set(keys))
        violations += [f"{route}: the cache key lacks {name}" for name in missing]
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
        retryable = problem.get("status") in {429, 503}
        retry_after = f"'{problem.get('retry_after')}'"
        if retryable and headers.get("gatewayresponse.header.Retry-After") != retry_after:
            violations.append(f"{name}: Retry-After is missing or differs from the body")
        if headers.get("gatewayresponse.header.Access-Control-Allow-Origin") != allowed_origin:
            violations.append(f"{name}: allowed origin is not {allowed_origin}")
    return violations


def _get_allowed_origin(stack: Stack) -> str | None:
    """Return the header's value: the single listed origin, or any, since the response cannot choose one."""
    origins = stack.parameters["CorsAllowedOrigins"].split(",")
    if origins == [""]:
        return None
    return f"'{origins[0]}'" if len(origins) == 1 else "'*'"


def check_throttling(stack: Stack) -> list[str]:
    return [
        f"{stage.id}: no throttling"
        for stage in stack.of_type("ApiGateway::Stage")
        if not any(
            setting["ResourcePath"] == "/*"
            and "ThrottlingRateLimit" in setting
            and "ThrottlingBurstLimit" in setting
            for setting in stage.properties["MethodSettings"]
        )
    ]
