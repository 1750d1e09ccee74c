"""Models, versions, examples, read-mes, deployments."""

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tools.simulator.models.base import Model
from tools.simulator.models.catalog import DEPLOYMENTS
from tools.simulator.models.views import model_view, version_view
from tools.simulator.problems import not_found
from tools.simulator.routes.common import listing, model_of, named, reply, simulator
from tools.simulator.view import render

_CREATED = "2025-01-01T00:00:00.375980Z"
_EXAMPLES = 10


async def list_models(request: Request) -> Response:
    """GET /models."""
    return reply(listing([model_view(model) for model in simulator(request).catalogue.list_models()]))


async def query_models(request: Request) -> Response:
    """QUERY /models: the body is the plain-text query."""
    words = (await request.body()).decode(errors="replace")
    return reply(
        listing([model_view(model) for model in found(simulator(request).catalogue.list_models(), words)])
    )


def found(models: list[Model], words: str) -> list[Model]:
    """The models whose name or description has every word."""
    wanted = words.lower().split()
    return [
        model
        for model in models
        if all(word in f"{model.full_name} {model.description}".lower() for word in wanted)
    ]


async def get_model(request: Request) -> Response:
    """GET /models/{owner}/{name}."""
    return reply(model_view(model_of(request)))


async def list_versions(request: Request) -> Response:
    """GET /models/{owner}/{name}/versions."""
    return reply(listing([version_view(model_of(request))]))


async def get_version(request: Request) -> Response:
    """GET /models/{owner}/{name}/versions/{version}."""
    model = model_of(request)
    if request.path_params["version"] != model.version:
        raise not_found()
    return reply(version_view(model))


async def list_examples(request: Request) -> Response:
    """GET /models/{owner}/{name}/examples: the latest successes of this process."""
    host, model = simulator(request), model_of(request)
    good = [
        prediction
        for prediction in reversed(host.store.all())
        if prediction.model == model.full_name
        and prediction.status == "succeeded"
        and not prediction.data_removed
    ]
    return reply(listing([render(prediction, host.launch.url) for prediction in good[:_EXAMPLES]]))


async def readme(request: Request) -> Response:
    """GET /models/{owner}/{name}/readme, as Markdown text."""
    model = model_of(request)
    return PlainTextResponse(f"# {model.name}\n\n{model.description}.\n")


async def list_deployments(request: Request) -> Response:
    """GET /deployments."""
    return reply(listing([_deployment(request, name) for name in DEPLOYMENTS]))


async def get_deployment(request: Request) -> Response:
    """GET /deployments/{owner}/{name}."""
    if named(request) not in DEPLOYMENTS:
        raise not_found()
    return reply(_deployment(request, named(request)))


def _deployment(request: Request, full_name: str) -> dict[str, Any]:
    owner, _, name = full_name.partition("/")
    model = simulator(request).catalogue.find_by_deployment(full_name)
    if model is None:
        raise not_found()
    release = {
        "number": 1,
        "model": model.full_name,
        "version": model.version,
        "created_at": _CREATED,
        "created_by": {"type": "organization", "username": owner, "name": owner},
        "configuration": {"hardware": "gpu-t4", "min_instances": 0, "max_instances": 1},
    }
    return {"owner": owner, "name": name, "current_release": release}


ROUTES = [
    Route("/v1/models", list_models, methods=["GET"]),
    Route("/v1/models", query_models, methods=["QUERY"]),
    Route("/v1/models/{owner}/{name}", get_model, methods=["GET"]),
    Route("/v1/models/{owner}/{name}/versions", list_versions, methods=["GET"]),
    Route("/v1/models/{owner}/{name}/versions/{version}", get_version, methods=["GET"]),
    Route("/v1/models/{owner}/{name}/examples", list_examples, methods=["GET"]),
    Route("/v1/models/{owner}/{name}/readme", readme, methods=["GET"]),
    Route("/v1/deployments", list_deployments, methods=["GET"]),
    Route("/v1/deployments/{owner}/{name}", get_deployment, methods=["GET"]),
]
