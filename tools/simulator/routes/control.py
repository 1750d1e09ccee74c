"""Routes of the control API under /_control: faults, settings, counts, timelines, held predictions.

They need no token; the middleware rejects clients on other machines.
"""

import json
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tools.simulator.faults import FaultRule
from tools.simulator.invoice import build_invoice
from tools.simulator.lifecycle import Completion
from tools.simulator.models.lab import replace_file_descriptions
from tools.simulator.predictions import Prediction
from tools.simulator.problems import ProblemError
from tools.simulator.routes.common import get_prediction, get_simulator, json_response
from tools.simulator.timestamps import to_seconds


class CompletionRequest(BaseModel):
    """How a held prediction ends. Fields that are absent are left to the model."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["succeeded", "failed"] | None = None
    output: Any = None
    logs: str = ""
    error: str | None = None


async def check_health(_: Request) -> Response:
    """GET /_control/health."""
    return json_response({"status": "ok"})


async def read_faults(request: Request) -> Response:
    """GET /_control/faults: the rules with their counts, and how often each kind fired."""
    return json_response(get_simulator(request).faults.build_report())


async def add_faults(request: Request) -> Response:
    """POST /_control/faults: one rule, a list of rules, or `{"rules": […]}`."""
    body = await _parse_body(request)
    body = body.get("rules", body) if isinstance(body, dict) else body
    try:
        rules = [FaultRule.model_validate(item) for item in (body if isinstance(body, list) else [body])]
    except ValidationError as error:
        raise _build_validation_problem(error) from error
    return json_response({"numbers": [get_simulator(request).faults.add(rule) for rule in rules]}, 201)


async def clear_faults(request: Request) -> Response:
    """DELETE /_control/faults: remove the rules and keep the counts."""
    get_simulator(request).faults.clear()
    return json_response(get_simulator(request).faults.build_report())


async def read_settings(request: Request) -> Response:
    """GET /_control/settings."""
    return json_response(get_simulator(request).settings.model_dump())


async def change_settings(request: Request) -> Response:
    """POST /_control/settings: change the named settings."""
    simulator = get_simulator(request)
    body = await _parse_body(request)
    changes = body if isinstance(body, dict) else {"(body)": body}
    try:
        simulator.settings = simulator.settings.with_changes(changes)
    except ValidationError as error:
        raise _build_validation_problem(error) from error
    return json_response(simulator.settings.model_dump())


async def read_stats(request: Request) -> Response:
    """GET /_control/stats."""
    simulator = get_simulator(request)
    return json_response({**simulator.stats.build_report(), "faults": dict(simulator.faults.fired_by_kind)})


async def list_predictions(request: Request) -> Response:
    """GET /_control/predictions[?webhook=text&status=s]: every prediction, oldest first."""
    webhook_text, status = request.query_params.get("webhook", ""), request.query_params.get("status")
    results = [
        {
            **_build_timeline(prediction),
            "account": prediction.account,
            "model": prediction.model,
            "webhook": prediction.webhook,
            "input": prediction.input,
        }
        for prediction in get_simulator(request).predictions.list_all()
        if webhook_text in (prediction.webhook or "") and status in (None, prediction.status)
    ]
    return json_response({"results": results})


async def read_invoice(request: Request) -> Response:
    """GET /_control/invoice: what each prediction that is over costs, and the sum."""
    simulator = get_simulator(request)
    invoice = build_invoice(simulator.predictions.list_all(), simulator.settings.job_parameters)
    return json_response(invoice)


async def read_timeline(request: Request) -> Response:
    """GET /_control/predictions/{id}/timeline."""
    return json_response(_build_timeline(get_prediction(request)))


async def complete_prediction(request: Request) -> Response:
    """POST /_control/predictions/{id}/complete: complete a held prediction; 409 if it is not held."""
    prediction = get_prediction(request)
    body = await _parse_body(request)
    try:
        completion_request = CompletionRequest.model_validate(body)
        overrides = {
            name: replace_file_descriptions(getattr(completion_request, name))
            for name in completion_request.model_fields_set - {"status"}
        }
    except ValidationError as error:
        raise _build_validation_problem(error) from error
    except (TypeError, ValueError) as error:
        raise ProblemError(422, f"output: {error}", "Invalid control request") from error
    completion = Completion(completion_request.status, overrides)
    if not get_simulator(request).runner.complete(prediction, completion):
        raise ProblemError(409, f"The prediction is {prediction.status}, not held")
    return json_response(_build_timeline(prediction))


async def expire_prediction(request: Request) -> Response:
    """POST /_control/predictions/{id}/expire: remove its data now, as its expiry would."""
    prediction = get_prediction(request)
    if not prediction.is_terminal:
        raise ProblemError(409, f"The prediction is {prediction.status}; only a completed one expires")
    get_simulator(request).retention.remove_data(prediction)
    return json_response(_build_timeline(prediction))


async def reset(request: Request) -> Response:
    """POST /_control/reset: return to the state after the start."""
    await get_simulator(request).reset()
    return json_response({"status": "ok"})


def _build_timeline(prediction: Prediction) -> dict[str, Any]:
    def to_optional_seconds(instant_ns: int | None) -> float | None:
        return None if instant_ns is None else to_seconds(instant_ns)

    return {
        "id": prediction.id,
        "status": prediction.status,
        "created_at": to_seconds(prediction.created_ns),
        "started_at": to_optional_seconds(prediction.started_ns),
        "completed_at": to_optional_seconds(prediction.completed_ns),
        "data_removed": prediction.data_removed,
        "webhook_attempts": [asdict(attempt) for attempt in prediction.webhook_attempts],
    }


async def _parse_body(request: Request) -> Any:
    try:
        return json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise ProblemError(400, "The request body is not valid JSON") from error


def _build_validation_problem(error: ValidationError) -> ProblemError:
    invalid_fields = [
        {"field": ".".join(str(part) for part in entry["loc"]), "description": entry["msg"]}
        for entry in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    detail = "; ".join(f"{field['field'] or 'rule'}: {field['description']}" for field in invalid_fields)
    return ProblemError(422, detail, "Invalid control request", {"invalid_fields": invalid_fields})


ROUTES = [
    Route("/_control/health", check_health, methods=["GET"]),
    Route("/_control/faults", read_faults, methods=["GET"]),
    Route("/_control/faults", add_faults, methods=["POST"]),
    Route("/_control/faults", clear_faults, methods=["DELETE"]),
    Route("/_control/settings", read_settings, methods=["GET"]),
    Route("/_control/settings", change_settings, methods=["POST"]),
    Route("/_control/stats", read_stats, methods=["GET"]),
    Route("/_control/predictions", list_predictions, methods=["GET"]),
    Route("/_control/invoice", read_invoice, methods=["GET"]),
    Route("/_control/predictions/{id}/timeline", read_timeline, methods=["GET"]),
    Route("/_control/predictions/{id}/complete", complete_prediction, methods=["POST"]),
    Route("/_control/predictions/{id}/expire", expire_prediction, methods=["POST"]),
    Route("/_control/reset", reset, methods=["POST"]),
]
