"""Account, hardware, collections, search, the webhook secret."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tools.simulator.files import OWNER
from tools.simulator.models.views import model_view
from tools.simulator.problems import not_found
from tools.simulator.routes.common import listing, reply, simulator
from tools.simulator.routes.models import found

_HARDWARE = {
    "cpu": "CPU",
    "gpu-t4": "Nvidia T4 GPU",
    "gpu-a40-small": "Nvidia A40 GPU",
    "gpu-h100": "Nvidia H100 GPU",
}
_COLLECTIONS = {
    "text-to-image": ("Text to image", "Models that paint from a text", "a list of images"),
    "language-models": ("Language models", "Models that write", "language model"),
    "official": ("Official models", "Models that run by name alone", ""),
}
_MOST_RESULTS, _USUAL_RESULTS = 50, 20


async def account(_: Request) -> Response:
    """GET /account."""
    github = f"https://github.com/{OWNER}"
    return reply({"type": "organization", "username": OWNER, "name": "Local Replicate", "github_url": github})


async def hardware(_: Request) -> Response:
    """GET /hardware."""
    return reply([{"name": name, "sku": sku} for sku, name in _HARDWARE.items()])


async def webhook_secret(request: Request) -> Response:
    """GET /webhooks/default/secret."""
    return reply({"key": simulator(request).knobs.webhook_secret})


async def list_collections(_: Request) -> Response:
    """GET /collections."""
    return reply(listing([_collection(slug) for slug in _COLLECTIONS]))


async def get_collection(request: Request) -> Response:
    """GET /collections/{slug}, with its models."""
    slug = request.path_params["slug"]
    if slug not in _COLLECTIONS:
        raise not_found()
    models = found(simulator(request).catalogue.list_models(), _COLLECTIONS[slug][2])
    if slug == "official":
        models = [model for model in models if model.is_official]
    return reply(
        {**_collection(slug), "full_description": None, "models": [model_view(model) for model in models]}
    )


async def search(request: Request) -> Response:
    """GET /search?query&limit."""
    words = request.query_params.get("query")
    if not words:
        return JSONResponse({"detail": 'Query parameter "query" is required'}, 400)
    given = request.query_params.get("limit", "")
    limit = min(_MOST_RESULTS, max(1, int(given))) if given.isdecimal() else _USUAL_RESULTS
    models = [
        {
            "model": model_view(model),
            "metadata": {"generated_description": model.description, "tags": [], "score": 1.0},
        }
        for model in found(simulator(request).catalogue.list_models(), words)[:limit]
    ]
    slugs = [slug for slug, (name, *_) in _COLLECTIONS.items() if words.lower() in name.lower()]
    collections = [{**_collection(slug), "models": []} for slug in slugs]
    return reply({"query": words, "models": models, "collections": collections, "pages": []})


def _collection(slug: str) -> dict[str, Any]:
    name, description, _ = _COLLECTIONS[slug]
    return {"name": name, "slug": slug, "description": description}


ROUTES = [
    Route("/v1/account", account, methods=["GET"]),
    Route("/v1/hardware", hardware, methods=["GET"]),
    Route("/v1/webhooks/default/secret", webhook_secret, methods=["GET"]),
    Route("/v1/collections", list_collections, methods=["GET"]),
    Route("/v1/collections/{slug}", get_collection, methods=["GET"]),
    Route("/v1/search", search, methods=["GET"]),
]
