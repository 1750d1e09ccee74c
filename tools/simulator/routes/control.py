"""The control API under /_control: faults, settings, counts, timelines. This machine only, no token."""

import json
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tools.simulator import clock
from tools.simulator.engine import Completion
from tools.simulator.faults.rules import FaultRule
from tools.simulator.models.lab import with_files
from tools.simulator.problems import ProblemError
from tools.simulator.routes.common import prediction_of, reply, simulator
from tools.simulator.store import Prediction


class CompletionRequest(BaseModel):
    """How a held prediction is to end; what is absent is left to its model."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["succeeded", "failed"] | None = None
    output: Any = None
    logs: str = ""
    error: str | None = None


async def health(_: Request) -> Response:
    """GET /_control/health."""
    return reply({"status": "ok"})


async def get_faults(request: Request) -> Response:
    """GET /_control/faults: rules with their counts, and how often each kind fired."""
    return reply(simulator(request).faults.report())


async def add_faults(request: Request) -> Response:
    """POST /_control/faults: one rule, or a list of rules, or {"rules": […]}."""
    given = await _body(request)
    given = given.get("rules", given) if isinstance(given, dict) else given
    try:
        rules = [FaultRule.model_validate(item) for item in (given if isinstance(given, list) else [given])]
    except ValidationError as error:
        raise _refused(error) from error
    return reply({"numbers": [simulator(request).faults.add(rule) for rule in rules]}, 201)


async def clear_faults(request: Request) -> Response:
    """DELETE /_control/faults: no rule is left; the counts stay."""
    simulator(request).faults.clear()
    return reply(simulator(request).faults.report())


async def get_settings(request: Request) -> Response:
    """GET /_control/settings."""
    return reply(simulator(request).knobs.model_dump())


async def change_settings(request: Request) -> Response:
    """POST /_control/settings: the named settings change, the others stay."""
    host = simulator(request)
    given = await _body(request)
    try:
        host.knobs = host.knobs.changed(given if isinstance(given, dict) else {"(body)": given})
    except ValidationError as error:
        raise _refused(error) from error
    return reply(host.knobs.model_dump())


async def stats(request: Request) -> Response:
    """GET /_control/stats."""
    host = simulator(request)
    return reply({**host.stats.report(), "faults": dict(host.faults.fired)})


async def list_predictions(request: Request) -> Response:
    """GET /_control/predictions[?webhook=text&status=s]: all that is known, oldest first."""
    text, status = request.query_params.get("webhook", ""), request.query_params.get("status")
    shown = [
        {
            **_timeline(prediction),
            "model": prediction.model,
            "webhook": prediction.webhook,
            "input": prediction.input,
        }
        for prediction in simulator(request).store.all()
        if text in (prediction.webhook or "") and status in (None, prediction.status)
    ]
    return reply({"results": shown})


async def timeline(request: Request) -> Response:
    """GET /_control/predictions/{id}/timeline."""
    return reply(_timeline(prediction_of(request)))


async def complete(request: Request) -> Response:
    """POST /_control/predictions/{id}/complete: end a held prediction; 409 if it isn't held."""
    prediction = prediction_of(request)
    body = await _body(request)
    try:
        wanted = CompletionRequest.model_validate(body)
        given = {name: with_files(getattr(wanted, name)) for name in wanted.model_fields_set - {"status"}}
    except ValidationError as error:
        raise _refused(error) from error
    except (TypeError, ValueError) as error:
        raise ProblemError(422, f"output: {error}", "Invalid control request") from error
    if not simulator(request).engine.complete(prediction, Completion(wanted.status, given)):
        raise ProblemError(409, f"The prediction is {prediction.status}, not held")
    return reply(_timeline(prediction))


async def expire(request: Request) -> Response:
    """POST /_control/predictions/{id}/expire: remove its data now, as retention will."""
    prediction = prediction_of(request)
    if not prediction.terminal:
        raise ProblemError(409, f"The prediction is {prediction.status}; only a completed one expires")
    simulator(request).retention.remove(prediction)
    return reply(_timeline(prediction))


async def reset(request: Request) -> Response:
    """POST /_control/reset: as freshly started."""
    await simulator(request).reset()
    return reply({"status": "ok"})


def _timeline(prediction: Prediction) -> dict[str, Any]:
    def instant(value: int | None) -> float | None:
        return None if value is None else clock.seconds(value)

    return {
        "id": prediction.id,
        "status": prediction.status,
        "created_at": instant(prediction.created_ns),
        "started_at": instant(prediction.started_ns),
        "completed_at": instant(prediction.completed_ns),
        "data_removed": prediction.data_removed,
        "webhook_attempts": [asdict(attempt) for attempt in prediction.attempts],
    }


async def _body(request: Request) -> Any:
    try:
        return json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise ProblemError(400, "The request body is not valid JSON") from error


def _refused(error: ValidationError) -> ProblemError:
    fields = [
        {"field": ".".join(str(part) for part in fault["loc"]), "description": fault["msg"]}
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    detail = "; ".join(f"{fault['field'] or 'rule'}: {fault['description']}" for fault in fields)
    return ProblemError(422, detail, "Invalid control request", {"invalid_fields": fields})


ROUTES = [
    Route("/_control/health", health, methods=["GET"]),
    Route("/_control/faults", get_faults, methods=["GET"]),
    Route("/_control/faults", add_faults, methods=["POST"]),
    Route("/_control/faults", clear_faults, methods=["DELETE"]),
    Route("/_control/settings", get_settings, methods=["GET"]),
    Route("/_control/settings", change_settings, methods=["POST"]),
    Route("/_control/stats", stats, methods=["GET"]),
    Route("/_control/predictions", list_predictions, methods=["GET"]),
    Route("/_control/predictions/{id}/timeline", timeline, methods=["GET"]),
    Route("/_control/predictions/{id}/complete", complete, methods=["POST"]),
    Route("/_control/predictions/{id}/expire", expire, methods=["POST"]),
    Route("/_control/reset", reset, methods=["POST"]),
]
