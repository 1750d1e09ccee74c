"""The API: who may call, what is checked before a function runs, how a refusal reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.template.stack import Stack


# Routes without authorizer, and what stands in its place
OPEN = {
    ("get", "/health"): "says nothing but that the service answers",
    ("options", "/{proxy+}"): "a browser's preflight carries no credentials",
    ("options", "/"): "a browser's preflight carries no credentials",
    ("post", "/webhooks/replicate"): "Replicate signs the body, and the address carries the job's token",
    ("get", "/v1/files/{id}/download"): "the address is signed and expires",
}
# Writing routes whose body is not JSON or is none
NO_BODY = {
    ("post", "/v1/batches/{id}/cancel"): "has no body",
    ("post", "/v1/predictions/{id}/cancel"): "has no body",
    ("post", "/v1/files"): "multipart/form-data, which API Gateway does not model",
}
_REFUSALS = {
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
_JSON_BODIES = {"post", "put", "patch"}

type Method = tuple[str, str, dict[str, Any]]


def body(stack: Stack) -> dict[str, Any]:
    (api,) = stack.of("ApiGateway::RestApi")
    document: dict[str, Any] = api.properties["Body"]
    return document


def methods(stack: Stack) -> Iterator[Method]:
    for path, item in body(stack)["paths"].items():
        for name, method in item.items():
            yield name.lower(), path, method


def methods_are_authorized(stack: Stack) -> list[str]:
    defined = body(stack)["securityDefinitions"]
    authorizers = {name for name, one in defined.items() if "x-amazon-apigateway-authorizer" in one}
    found = []
    for name, path, method in methods(stack):
        asked = {scheme for entry in method.get("security", []) for scheme in entry}
        if (name, path) in OPEN:
            if asked & authorizers:
                found.append(f"{name} {path}: listed as open, yet authorized")
        elif not asked & authorizers:
            found.append(f"{name} {path}: anybody may call")
        elif stack.holds("HasUsagePlans") and "api_key" not in asked:
            found.append(f"{name} {path}: usage plans do not count it")
    return found


def methods_are_validated(stack: Stack) -> list[str]:
    document = body(stack)
    validators = document["x-amazon-apigateway-request-validators"]
    default = document.get("x-amazon-apigateway-request-validator", "")
    found = []
    for name, path, method in methods(stack):
        validator = validators.get(method.get("x-amazon-apigateway-request-validator", default), {})
        if not validator.get("validateRequestParameters"):
            found.append(f"{name} {path}: parameters are not checked")
        if name not in _JSON_BODIES or (name, path) in NO_BODY:
            continue
        models = [
            one["schema"]["$ref"].rsplit("/", 1)[-1]
            for one in method.get("parameters", [])
            if one["in"] == "body"
        ]
        if not validator.get("validateRequestBody") or not models or models[0] not in document["definitions"]:
            found.append(f"{name} {path}: the body is not checked")
    return found


def caches_keep_callers_apart(stack: Stack) -> list[str]:
    """No cached method answers one caller with what another asked for."""
    (stage,) = stack.of("ApiGateway::Stage")
    cached = [one for one in stage.properties["MethodSettings"] if one.get("CachingEnabled")]
    keys = {
        (name, path): method["x-amazon-apigateway-integration"].get("cacheKeyParameters", [])
        for name, path, method in methods(stack)
    }
    found = []
    for setting in cached:
        route = (setting["HttpMethod"].lower(), setting["ResourcePath"][1:].replace("~1", "/"))
        if route[0] != "get":
            found.append(f"{route}: only reads may be cached")
        if "method.request.header.Authorization" not in keys.get(route, []):
            found.append(f"{route}: the caller is not part of the cache key")
        missing = {
            f"method.request.path.{part[1:-1]}" for part in route[1].split("/") if part.startswith("{")
        } - set(keys.get(route, []))
        found += [f"{route}: {name} is not part of the cache key" for name in sorted(missing)]
        if not setting.get("CacheDataEncrypted"):
            found.append(f"{route}: the cache is not encrypted")
    return found


def refusals_are_problems(stack: Stack) -> list[str]:
    answers = body(stack)["x-amazon-apigateway-gateway-responses"]
    found = [
        f"{name}: not {status}"
        for name, status in _REFUSALS.items()
        if int(answers.get(name, {}).get("statusCode", 0)) != status
    ]
    for name, answer in answers.items():
        headers = answer["responseParameters"]
        problem = json.loads(answer["responseTemplates"]["application/json"])
        if headers.get("gatewayresponse.header.Content-Type") != "'application/problem+json'":
            found.append(f"{name}: not problem+json")
        if "detail" not in problem or problem.get("status", 0) != int(answer.get("statusCode", 0)):
            found.append(f"{name}: body and status disagree")
        waits = problem.get("status") in {429, 503}
        if waits and headers.get("gatewayresponse.header.Retry-After") != f"'{problem.get('retry_after')}'":
            found.append(f"{name}: does not say when to try again")
        if headers.get("gatewayresponse.header.Access-Control-Allow-Origin") != _reader(stack):
            found.append(f"{name}: not what {_reader(stack)} may read")
    return found


def _reader(stack: Stack) -> str | None:
    """Whose pages may read a refusal: the listed origin; with several, which it cannot choose among, any."""
    origins = stack.parameters["CorsAllowedOrigins"].split(",")
    if origins == [""]:
        return None
    return f"'{origins[0]}'" if len(origins) == 1 else "'*'"


def stages_are_throttled(stack: Stack) -> list[str]:
    return [
        f"{stage.id}: no throttling"
        for stage in stack.of("ApiGateway::Stage")
        if not any(
            setting["ResourcePath"] == "/*"
            and "ThrottlingRateLimit" in setting
            and "ThrottlingBurstLimit" in setting
            for setting in stage.properties["MethodSettings"]
        )
    ]
