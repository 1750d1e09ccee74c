"""Routes for predictions: create, read, list, cancel (OpenAPI document, predictions.*), and stream."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tools.simulator.create_request import (
    CreateRequest,
    check_model_input,
    parse_cancel_after,
    parse_create_body,
    parse_prefer_wait,
)
from tools.simulator.models.model import Model, RunScript
from tools.simulator.predictions import Prediction, build_created_view, build_prediction_view
from tools.simulator.problems import (
    InvalidField,
    ProblemError,
    invalid_input_error,
    invalid_version_error,
    not_found_error,
)
from tools.simulator.randomness import generate_prediction_id, generate_stream_id
from tools.simulator.routes.common import (
    build_page_url,
    check_visible,
    get_account,
    get_full_name,
    get_prediction,
    get_simulator,
    json_response,
    parse_cursor,
)
from tools.simulator.settings import DEFAULT_ACCOUNT
from tools.simulator.simulator import Simulator
from tools.simulator.streams import EventStream
from tools.simulator.timestamps import NANOSECONDS_PER_SECOND, now_ns, parse_timestamp

_PAGE_SIZE = 100


async def create(request: Request) -> Response:
    """POST /predictions: by version."""
    create_request = parse_create_body(await request.body(), requires_version=True)
    model = get_simulator(request).catalog.find_by_version(create_request.version or "")
    account = get_account(request) or DEFAULT_ACCOUNT
    if model is None or not get_simulator(request).settings.is_visible(model.full_name, account):
        raise invalid_version_error()
    return await _create(request, create_request, model)


async def create_by_model(request: Request) -> Response:
    """POST /models/{owner}/{name}/predictions: official models only."""
    create_request = parse_create_body(await request.body(), requires_version=False)
    model = get_simulator(request).catalog.find_by_name(get_full_name(request))
    if model is None or not model.is_official:
        raise not_found_error()
    return await _create(request, create_request, check_visible(request, model))


async def create_by_deployment(request: Request) -> Response:
    """POST /deployments/{owner}/{name}/predictions."""
    create_request = parse_create_body(await request.body(), requires_version=False)
    model = get_simulator(request).catalog.find_by_deployment(get_full_name(request))
    if model is None:
        raise not_found_error()
    return await _create(
        request, create_request, check_visible(request, model), deployment=get_full_name(request)
    )


async def read(request: Request) -> Response:
    """GET /predictions/{id}."""
    public_url = get_simulator(request).launch.public_url
    return json_response(build_prediction_view(get_prediction(request), public_url))


async def cancel(request: Request) -> Response:
    """POST /predictions/{id}/cancel. As recorded, the response has neither output nor logs."""
    simulator, prediction = get_simulator(request), get_prediction(request)
    was_terminal = prediction.is_terminal
    simulator.runner.cancel(prediction)
    view = build_prediction_view(prediction, simulator.launch.public_url)
    return json_response(view if was_terminal else {**view, "output": None, "logs": None})


async def list_page(request: Request) -> Response:
    """GET /predictions: 100 per page, newest first.

    `source=web` asks for predictions that were created on the website, of which there are none.
    """
    simulator = get_simulator(request)
    source = request.query_params.get("source")
    if source not in (None, "web"):
        raise ProblemError(400, "source must be web")
    page = simulator.predictions.read_page(
        get_account(request) or DEFAULT_ACCOUNT,
        start=0 if source == "web" else parse_cursor(request),
        since_ns=_parse_time_parameter(request, "created_after"),
        until_ns=_parse_time_parameter(request, "created_before"),
        size=_PAGE_SIZE,
    )
    public_url = simulator.launch.public_url
    return json_response(
        {
            "next": build_page_url(request, page.next),
            "previous": build_page_url(request, page.previous),
            "results": [build_prediction_view(prediction, public_url) for prediction in page.results],
        }
    )


async def stream(request: Request) -> Response:
    """GET of `urls.stream`: server-sent events (Replicate docs, streaming).

    It needs no token: the URL is the secret. `Last-Event-ID` resumes after an event.
    """
    simulator = get_simulator(request)
    settings = simulator.settings
    prediction = simulator.predictions.find_stream(request.url.path)
    if (
        prediction is None
        or prediction.stream is None
        or prediction.seconds_since_completion(now_ns()) >= settings.stream_retention
    ):
        raise not_found_error()
    simulator.stats.count_stream(request.headers)
    events = prediction.stream.read(
        last_event_id=request.headers.get("last-event-id"),
        dialect=settings.stream_dialect,
        idle_seconds=settings.stream_idle_limit,
    )
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _create(
    request: Request, create_request: CreateRequest, model: Model, deployment: str | None = None
) -> Response:
    simulator = get_simulator(request)
    check_model_input(model, create_request.input)
    cancel_after_seconds = parse_cancel_after(request.headers.get("cancel-after"))
    script = _write_script(simulator, model, create_request.input)
    created_ns = now_ns()
    deadline_ns = None
    if cancel_after_seconds is not None:
        deadline_ns = created_ns + cancel_after_seconds * NANOSECONDS_PER_SECOND
    prediction = Prediction(
        id=generate_prediction_id(),
        account=get_account(request) or DEFAULT_ACCOUNT,
        model=model.full_name,
        version=model.reported_version,
        input=create_request.input,
        created_ns=created_ns,
        webhook=create_request.webhook,
        webhook_events=create_request.webhook_events,
        deployment=deployment,
        deadline_ns=deadline_ns,
        stream=EventStream(generate_stream_id(), model.stream) if model.stream else None,
    )
    simulator.predictions.add(prediction)
    simulator.stats.count_prediction(prediction, simulator.settings.job_parameters)
    simulator.runner.start(prediction, model, script)
    wait_seconds = parse_prefer_wait(request.headers.get("prefer"))
    if wait_seconds is None:
        return json_response(build_created_view(prediction, simulator.launch.public_url), 201)
    return await _wait_for_outputs(simulator, prediction, wait_seconds)


def _write_script(simulator: Simulator, model: Model, model_input: dict[str, Any]) -> RunScript:
    try:
        return simulator.runner.write_script(model, model_input)
    except (TypeError, ValueError) as error:
        raise invalid_input_error(InvalidField("format", "input.output", str(error))) from error


async def _wait_for_outputs(simulator: Simulator, prediction: Prediction, wait_seconds: int) -> Response:
    """Return the response once the outputs exist.

    After `wait_seconds`, return 202 with the status `starting`, whatever the status is, as Replicate does.
    """
    headers = {"Preference-Applied": f"wait={wait_seconds}"}
    try:
        await asyncio.wait_for(prediction.outputs_ready.wait(), wait_seconds)
    except TimeoutError:
        view = build_created_view(prediction, simulator.launch.public_url)
        return json_response({**view, "status": "starting", "output": None}, 202, headers)
    view = build_created_view(prediction, simulator.launch.public_url)
    if simulator.settings.sync_data_uris:
        view["output"] = simulator.output_files.replace_with_data_uris(view["output"])
    return json_response(view, 201 if prediction.is_terminal else 202, headers)


def _parse_time_parameter(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise ProblemError(400, f"{name} must be an ISO 8601 date-time") from error


ROUTES = [
    Route("/v1/predictions", create, methods=["POST"]),
    Route("/v1/predictions", list_page, methods=["GET"]),
    Route("/v1/predictions/{id}", read, methods=["GET"]),
    Route("/v1/predictions/{id}/cancel", cancel, methods=["POST"]),
    Route("/v1/models/{owner}/{name}/predictions", create_by_model, methods=["POST"]),
    Route("/v1/deployments/{owner}/{name}/predictions", create_by_deployment, methods=["POST"]),
    Route("/v1/streams/{opaque}", stream, methods=["GET"]),
    Route("/v1/files/stream-{opaque}", stream, methods=["GET"]),
]
