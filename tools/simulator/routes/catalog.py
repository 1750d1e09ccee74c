"""Routes for what an account can look up: models, deployments, collections, search, hardware, account."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tools.simulator.models.catalog import MODELS_BY_DEPLOYMENT
from tools.simulator.models.model import build_model_view, build_version_view
from tools.simulator.predictions import build_prediction_view
from tools.simulator.problems import not_found_error
from tools.simulator.routes.common import (
    build_page,
    get_account,
    get_full_name,
    get_model,
    get_simulator,
    json_response,
    select_visible,
)
from tools.simulator.settings import DEFAULT_ACCOUNT

_RELEASE_CREATED_AT = "2025-01-01T00:00:00.375980Z"
_MAX_EXAMPLES = 10
_HARDWARE = {
    "cpu": "CPU",
    "gpu-t4": "Nvidia T4 GPU",
    "gpu-a40-small": "Nvidia A40 GPU",
    "gpu-h100": "Nvidia H100 GPU",
}
# Name, description, and the words that find the models of the collection.
_COLLECTIONS = {
    "text-to-image": ("Text to image", "Models that paint from a text", "a list of images"),
    "language-models": ("Language models", "Models that write", "language model"),
    "official": ("Official models", "Models that run by name alone", ""),
}
_MAX_SEARCH_RESULTS, _DEFAULT_SEARCH_RESULTS = 50, 20


async def list_models(request: Request) -> Response:
    """GET /models."""
    models = select_visible(request, get_simulator(request).catalog.list_models())
    return json_response(build_page(request, [build_model_view(model) for model in models]))


async def query_models(request: Request) -> Response:
    """QUERY /models: the body is the query, as plain text."""
    words = (await request.body()).decode(errors="replace")
    models = select_visible(request, get_simulator(request).catalog.search_models(words))
    return json_response(build_page(request, [build_model_view(model) for model in models]))


async def read_model(request: Request) -> Response:
    """GET /models/{owner}/{name}."""
    return json_response(build_model_view(get_model(request)))


async def list_versions(request: Request) -> Response:
    """GET /models/{owner}/{name}/versions."""
    return json_response(build_page(request, [build_version_view(get_model(request))]))


async def read_version(request: Request) -> Response:
    """GET /models/{owner}/{name}/versions/{version}."""
    model = get_model(request)
    if request.path_params["version"] != model.version:
        raise not_found_error()
    return json_response(build_version_view(model))


async def list_examples(request: Request) -> Response:
    """GET /models/{owner}/{name}/examples: the latest successful predictions of this process."""
    simulator, model = get_simulator(request), get_model(request)
    examples = [
        prediction
        for prediction in reversed(simulator.predictions.list_all())
        if prediction.model == model.full_name
        and prediction.account == get_account(request)
        and prediction.status == "succeeded"
        and not prediction.data_removed
    ][:_MAX_EXAMPLES]
    public_url = simulator.launch.public_url
    return json_response(
        build_page(request, [build_prediction_view(prediction, public_url) for prediction in examples])
    )


async def read_readme(request: Request) -> Response:
    """GET /models/{owner}/{name}/readme, as Markdown text."""
    model = get_model(request)
    return PlainTextResponse(f"# {model.name}\n\n{model.description}.\n")


async def list_deployments(request: Request) -> Response:
    """GET /deployments."""
    return json_response(
        build_page(request, [_build_deployment_view(request, name) for name in MODELS_BY_DEPLOYMENT])
    )


async def read_deployment(request: Request) -> Response:
    """GET /deployments/{owner}/{name}."""
    return json_response(_build_deployment_view(request, get_full_name(request)))


async def list_collections(request: Request) -> Response:
    """GET /collections."""
    return json_response(build_page(request, [_build_collection_view(slug) for slug in _COLLECTIONS]))


async def read_collection(request: Request) -> Response:
    """GET /collections/{slug}, with its models."""
    slug = request.path_params["slug"]
    if slug not in _COLLECTIONS:
        raise not_found_error()
    models = select_visible(request, get_simulator(request).catalog.search_models(_COLLECTIONS[slug][2]))
    if slug == "official":
        models = [model for model in models if model.is_official]
    model_views = [build_model_view(model) for model in models]
    return json_response({**_build_collection_view(slug), "full_description": None, "models": model_views})


async def search(request: Request) -> Response:
    """GET /search?query&limit."""
    words = request.query_params.get("query")
    if not words:
        return JSONResponse({"detail": 'Query parameter "query" is required'}, 400)
    limit_text = request.query_params.get("limit", "")
    limit = _DEFAULT_SEARCH_RESULTS
    if limit_text.isdecimal():
        limit = min(_MAX_SEARCH_RESULTS, max(1, int(limit_text)))
    models = [
        {
            "model": build_model_view(model),
            "metadata": {"generated_description": model.description, "tags": [], "score": 1.0},
        }
        for model in select_visible(request, get_simulator(request).catalog.search_models(words))[:limit]
    ]
    slugs = [slug for slug, (name, *_) in _COLLECTIONS.items() if words.lower() in name.lower()]
    collections = [{**_build_collection_view(slug), "models": []} for slug in slugs]
    return json_response({"query": words, "models": models, "collections": collections, "pages": []})


async def list_hardware(_: Request) -> Response:
    """GET /hardware."""
    return json_response([{"name": name, "sku": sku} for sku, name in _HARDWARE.items()])


async def read_account(request: Request) -> Response:
    """GET /account."""
    username = get_account(request) or DEFAULT_ACCOUNT
    return json_response(
        {
            "type": "organization",
            "username": username,
            "name": "Local Replicate",
            "github_url": f"https://github.com/{username}",
        }
    )


async def read_webhook_secret(request: Request) -> Response:
    """GET /webhooks/default/secret."""
    account = get_simulator(request).settings.find_account(get_account(request) or DEFAULT_ACCOUNT)
    return json_response({"key": account.webhook_secret})


def _build_deployment_view(request: Request, full_name: str) -> dict[str, Any]:
    owner, _, name = full_name.partition("/")
    model = get_simulator(request).catalog.find_by_deployment(full_name)
    if model is None:
        raise not_found_error()
    release = {
        "number": 1,
        "model": model.full_name,
        "version": model.version,
        "created_at": _RELEASE_CREATED_AT,
        "created_by": {"type": "organization", "username": owner, "name": owner},
        "configuration": {"hardware": "gpu-t4", "min_instances": 0, "max_instances": 1},
    }
    return {"owner": owner, "name": name, "current_release": release}


def _build_collection_view(slug: str) -> dict[str, Any]:
    name, description, _ = _COLLECTIONS[slug]
    return {"name": name, "slug": slug, "description": description}


ROUTES = [
    Route("/v1/models", list_models, methods=["GET"]),
    Route("/v1/models", query_models, methods=["QUERY"]),
    Route("/v1/models/{owner}/{name}", read_model, methods=["GET"]),
    Route("/v1/models/{owner}/{name}/versions", list_versions, methods=["GET"]),
    Route("/v1/models/{owner}/{name}/versions/{version}", read_version, methods=["GET"]),
    Route("/v1/models/{owner}/{name}/examples", list_examples, methods=["GET"]),
    Route("/v1/models/{owner}/{name}/readme", read_readme, methods=["GET"]),
    Route("/v1/deployments", list_deployments, methods=["GET"]),
    Route("/v1/deployments/{owner}/{name}", read_deployment, methods=["GET"]),
    Route("/v1/collections", list_collections, methods=["GET"]),
    Route("/v1/collections/{slug}", read_collection, methods=["GET"]),
    Route("/v1/search", search, methods=["GET"]),
    Route("/v1/hardware", list_hardware, methods=["GET"]),
    Route("/v1/account", read_account, methods=["GET"]),
    Route("/v1/webhooks/default/secret", read_webhook_secret, methods=["GET"]),
]
