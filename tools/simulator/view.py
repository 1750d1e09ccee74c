"""A prediction as Replicate's API shows it (OpenAPI document, schemas_prediction_response)."""

from typing import Any

from tools.simulator import clock
from tools.simulator.store import Prediction


def render(prediction: Prediction, url: str) -> dict[str, Any]:
    """The JSON of GET and of webhooks; `url` is the API's origin. Optional keys are absent when unset."""
    shown: dict[str, Any] = {
        "id": prediction.id,
        "model": prediction.model,
        "version": prediction.version,
        "input": prediction.input,
        "logs": prediction.logs,
        "output": prediction.output,
        "data_removed": prediction.data_removed,
        "error": prediction.error,
        "source": "api",
        "status": prediction.status,
        "created_at": clock.iso(prediction.created_ns),
    }
    for key, instant in (
        ("started_at", prediction.started_ns),
        ("completed_at", prediction.completed_ns),
        ("deadline", prediction.deadline_ns),
    ):
        if instant is not None:
            shown[key] = clock.iso(instant)
    if prediction.deployment:
        shown["deployment"] = prediction.deployment
    if prediction.metrics is not None:
        shown["metrics"] = prediction.metrics
    shown["urls"] = _urls(prediction, url)
    return shown


def render_created(prediction: Prediction, url: str) -> dict[str, Any]:
    """The create reply: as GET, and echoing the webhook that was asked for."""
    shown = render(prediction, url)
    if prediction.webhook:
        shown["webhook"] = prediction.webhook
        shown["webhook_events_filter"] = sorted(prediction.events)
    return shown


def _urls(prediction: Prediction, url: str) -> dict[str, str]:
    get = f"{url}/v1/predictions/{prediction.id}"
    urls = {"cancel": f"{get}/cancel", "get": get, "web": f"https://replicate.com/p/{prediction.id}"}
    if prediction.streamable:
        urls["stream"] = f"{url}/stream/{prediction.id}"
    return urls
