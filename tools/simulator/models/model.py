"""Hosted models: their description, their behavior in one run, and their JSON as Replicate's API shows it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from tools.simulator.streams import StreamKind

type JsonSchema = dict[str, Any]
type Behavior = Callable[["RunContext"], "RunScript"]

STRING_SCHEMA: JsonSchema = {"type": "string"}
URI_SCHEMA: JsonSchema = {"type": "string", "format": "uri"}
PROMPT_SCHEMA: JsonSchema = {"type": "string", "title": "Prompt", "description": "What to make"}

_COG_VERSION = "0.16.7"
_CREATED_AT = "2025-01-01T00:00:00.329Z"


@dataclass(frozen=True, slots=True)
class RunContext:
    """What a behavior gets: the prediction's validated input, and a random generator of its own."""

    input: dict[str, Any]
    rng: Random

    def get(self, name: str, default: Any) -> Any:
        """Return an input value, or the default if it is absent or null."""
        value = self.input.get(name)
        return default if value is None else value


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """Something that happens during a run; `at` is a share of its run time, between 0 and 1."""

    at: float
    logs: str = ""
    output: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScript:
    """What happens in one run.

    Outputs are JSON that may contain OutputFile values. The settings decide where `startup_seconds` or
    `latency_seconds` is None.
    """

    output: Any = None
    steps: tuple[RunStep, ...] = ()
    status: Literal["succeeded", "failed"] = "succeeded"
    error: str | None = None
    startup_seconds: float | None = None
    latency_seconds: float | None = None
    hold: bool = False
    metrics: dict[str, Any] = field(default_factory=dict)


def compute_version_id(full_name: str) -> str:
    """Return the version of the model `owner/name`: the SHA-256 of its name, in hex."""
    return hashlib.sha256(full_name.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A hosted model. Official models can be run by name, and their predictions show `hidden` as version."""

    owner: str
    name: str
    description: str
    behavior: Behavior
    inputs: dict[str, JsonSchema]
    output: JsonSchema
    required: tuple[str, ...] = ()
    is_official: bool = False
    stream: StreamKind | None = None
    latency_factor: float = 1.0

    @property
    def full_name(self) -> str:
        """`owner/name`."""
        return f"{self.owner}/{self.name}"

    @property
    def version(self) -> str:
        """The ID of the model's only version."""
        return compute_version_id(self.full_name)

    @property
    def reported_version(self) -> str:
        """The `version` that its predictions show."""
        return "hidden" if self.is_official else self.version


def array_schema(items: JsonSchema) -> JsonSchema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def object_schema(**properties: JsonSchema) -> JsonSchema:
    """Return the schema of an object."""
    return {"type": "object", "properties": properties}


def integer_schema(default: int, minimum: int, maximum: int) -> JsonSchema:
    """Return the schema of a bounded integer input."""
    return {"type": "integer", "default": default, "minimum": minimum, "maximum": maximum}


def enum_schema(*values: str) -> JsonSchema:
    """Return the schema of an input with fixed values, the first being the default."""
    return {"type": "string", "enum": list(values), "default": values[0]}


def build_model_view(model: Model) -> dict[str, Any]:
    """Return the JSON of a model with its latest version (OpenAPI document, schemas_model_response)."""
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
        "latest_version": build_version_view(model),
    }


def build_version_view(model: Model) -> dict[str, Any]:
    """Return the JSON of a version (OpenAPI document, schemas_version_response).

    Clients read `components.schemas.Output` to learn whether the output is an iterator.
    """
    return {
        "id": model.version,
        "created_at": _CREATED_AT,
        "cog_version": _COG_VERSION,
        "openapi_schema": _build_openapi_schema(model),
    }


def _build_openapi_schema(model: Model) -> dict[str, Any]:
    """Return the OpenAPI document that Cog writes: choices are schemas of their own."""
    properties: dict[str, JsonSchema] = {}
    choices: dict[str, JsonSchema] = {}
    for order, (name, schema) in enumerate(model.inputs.items()):
        if "enum" in schema:
            values = {"type": schema["type"], "enum": schema["enum"]}
            choices[name] = {"title": name, "description": "An enumeration.", **values}
            rest = {key: value for key, value in schema.items() if key not in values}
            reference = {"$ref": f"#/components/schemas/{name}"}
            properties[name] = {"allOf": [reference], "x-order": order, **rest}
        else:
            properties[name] = {"title": name.replace("_", " ").title(), "x-order": order, **schema}
    inputs: dict[str, Any] = {"type": "object", "title": "Input", "properties": properties}
    if model.required:
        inputs["required"] = list(model.required)
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "paths": {
            "/predictions": {"post": {"operationId": "predict_predictions_post", "summary": "Predict"}}
        },
        "components": {
            "schemas": {"Input": inputs, "Output": {"title": "Output", **model.output}, **choices}
        },
    }
