"""Predictions: create, get, list, cancel (OpenAPI document, predictions.*)."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tools.simulator import clock, ids
from tools.simulator.headers import cancel_after, preferred_wait
from tools.simulator.models.base import Model, Script
from tools.simulator.problems import InvalidField, ProblemError, invalid_input, invalid_version, not_found
from tools.simulator.routes.common import (
    cursor_position,
    cursor_url,
    named,
    prediction_of,
    reply,
    simulator,
)
from tools.simulator.simulator import Simulator
from tools.simulator.store import Prediction
from tools.simulator.validation import CreateRequest, check_input, parse_create
from tools.simulator.view import render, render_created

_PAGE = 100


async def create(request: Request) -> Response:
    """POST /predictions: by version."""
    wanted = parse_create(await request.body(), versioned=True)
    model = simulator(request).catalogue.find_by_version(wanted.version or "")
    if model is None:
        raise invalid_version()
    return await _create(request, wanted, model)


async def create_by_model(request: Request) -> Response:
    """POST /models/{owner}/{name}/predictions: official models only."""
    wanted = parse_create(await request.body(), versioned=False)
    model = simulator(request).catalogue.find_by_name(named(request))
    if model is None or not model.is_official:
        raise not_found()
    return await _create(request, wanted, model)


async def create_by_deployment(request: Request) -> Response:
    """POST /deployments/{owner}/{name}/predictions."""
    wanted = parse_create(await request.body(), versioned=False)
    model = simulator(request).catalogue.find_by_deployment(named(request))
    if model is None:
        raise not_found()
    return await _create(request, wanted, model, deployment=named(request))


async def get(request: Request) -> Response:
    """GET /predictions/{id}."""
    return reply(render(prediction_of(request), simulator(request).launch.url))


async def cancel(request: Request) -> Response:
    """POST /predictions/{id}/cancel; the reply has neither output nor logs, as recorded."""
    prediction = prediction_of(request)
    before = prediction.terminal
    simulator(request).engine.cancel(prediction)
    shown = render(prediction, simulator(request).launch.url)
    return reply(shown if before else {**shown, "output": None, "logs": None})


async def list_page(request: Request) -> Response:
    """GET /predictions: 100 a page, newest first. None of ours comes from the website."""
    host = simulator(request)
    source = request.query_params.get("source")
    if source not in (None, "web"):
        raise ProblemError(400, "source must be web")
    page = host.store.page(
        start=0 if source == "web" else cursor_position(request),
        since_ns=_instant(request, "created_after"),
        until_ns=_instant(request, "created_before"),
        size=_PAGE,
    )
    return reply(
        {
            "next": cursor_url(request, page.next),
            "previous": cursor_url(request, page.previous),
            "results": [render(prediction, host.launch.url) for prediction in page.results],
        }
    )


async def _create(
    request: Request, wanted: CreateRequest, model: Model, deployment: str | None = None
) -> Response:
    host = simulator(request)
    check_input(model, wanted.input)
    lifetime = cancel_after(request.headers.get("cancel-after"))
    script = _script(host, model, wanted.input)
    now = clock.now_ns()
    prediction = Prediction(
        id=ids.prediction_id(),
        model=model.full_name,
        version=model.reported_version,
        input=wanted.input,
        created_ns=now,
        webhook=wanted.webhook,
        events=wanted.events,
        deployment=deployment,
        deadline_ns=None if lifetime is None else now + lifetime * clock.NANOSECONDS,
        streamable=model.is_streamable,
    )
    host.store.add(prediction)
    host.stats.count_created(prediction, host.knobs.job_parameters)
    host.engine.start(prediction, model, script)
    wait = preferred_wait(request.headers.get("prefer"))
    if wait is None:
        return reply(render_created(prediction, host.launch.url), 201)
    return await _held(host, prediction, wait)


def _script(host: Simulator, model: Model, given: dict[str, Any]) -> Script:
    try:
        return host.engine.script(model, given)
    except (TypeError, ValueError) as error:
        raise invalid_input(InvalidField("format", "input.output", str(error))) from error


async def _held(host: Simulator, prediction: Prediction, wait: int) -> Response:
    """Answer when the outputs exist; after `wait` seconds say `starting`, whatever the truth, with 202."""
    applied = {"Preference-Applied": f"wait={wait}"}
    try:
        await asyncio.wait_for(prediction.outputs_ready.wait(), wait)
    except TimeoutError:
        shown = render_created(prediction, host.launch.url)
        return reply({**shown, "status": "starting", "output": None}, 202, applied)
    shown = render_created(prediction, host.launch.url)
    if host.knobs.sync_data_uris:
        shown["output"] = host.delivery.inlined(shown["output"])
    return reply(shown, 201 if prediction.terminal else 202, applied)


def _instant(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return clock.parse_iso(text)
    except ValueError as error:
        raise ProblemError(400, f"{name} must be an ISO 8601 date-time") from error


ROUTES = [
    Route("/v1/predictions", create, methods=["POST"]),
    Route("/v1/predictions", list_page, methods=["GET"]),
    Route("/v1/predictions/{id}", get, methods=["GET"]),
    Route("/v1/predictions/{id}/cancel", cancel, methods=["POST"]),
    Route("/v1/models/{owner}/{name}/predictions", create_by_model, methods=["POST"]),
    Route("/v1/deployments/{owner}/{name}/predictions", create_by_deployment, methods=["POST"]),
]
