"""Models and versions as the API shows them (OpenAPI document, schemas_{model,version}_response)."""

from typing import Any

from tools.simulator.models.base import Model

COG_VERSION = "0.16.7"
_CREATED = "2025-01-01T00:00:00.329Z"


def version_view(model: Model) -> dict[str, Any]:
    """A version; clients read components.schemas.Output to learn whether the output is an iterator."""
    return {
        "id": model.version,
        "created_at": _CREATED,
        "cog_version": COG_VERSION,
        "openapi_schema": _openapi(model),
    }


def model_view(model: Model) -> dict[str, Any]:
    """A model with its latest version."""
    return {
        "url": f"https://replicate.com/{model.full_name}",
        "owner": model.owner,
        "name": model.name,
        "description": model.description,
        "visibility": "public",
        "is_official": model.is_official,
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 0,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version_view(model),
    }


def _openapi(model: Model) -> dict[str, Any]:
    properties = {
        name: {"title": name.replace("_", " ").title(), "x-order": order, **schema}
        for order, (name, schema) in enumerate(model.inputs.items())
    }
    inputs: dict[str, Any] = {"type": "object", "title": "Input", "properties": properties}
    if model.required:
        inputs["required"] = list(model.required)
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "paths": {
            "/predictions": {"post": {"operationId": "predict_predictions_post", "summary": "Predict"}}
        },
        "components": {"schemas": {"Input": inputs, "Output": {"title": "Output", **model.output}}},
    }
