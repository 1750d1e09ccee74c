"""What the demo asks for: a model that exists, its version if it needs one, and an input that it takes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import requests

from tools.local.errors import LocalError
from tools.local.stack import Stack

DEFAULT_MODEL = "black-forest-labs/flux-schnell"
DEFAULT_PROMPT = "a lighthouse on a cliff at dusk, oil on canvas"

_TIMEOUT_SECONDS = 30.0
_MAX_LISTED_MODELS = 40
_PROMPT_FIELDS = ("prompt", "text")
"""The inputs that take the prompt, the first that the model has."""


@dataclass(frozen=True)
class ModelRequest:
    """The prediction to create: `model` is `owner/name`; without `version`, it is an official model."""

    model: str
    version: str | None = None
    input: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the prediction is about, for file names: its prompt, or else its model."""
        prompts = [str(self.input[name]) for name in _PROMPT_FIELDS if name in self.input]
        return prompts[0] if prompts else self.model

    @property
    def reference(self) -> str:
        return f"{self.model}:{self.version[:12]}" if self.version else self.model


def build_request(
    stack: Stack, *, model: str | None = None, prompt: str | None = None, input_json: str | None = None
) -> ModelRequest:
    """Look the model up through the stack's own API, and return the request.

    `model` is `owner/name` or `owner/name:version`; `input_json` is a JSON object that is added to the input.
    Raises `LocalError` if the model does not exist, or needs an input that is missing.
    """
    extra_input = _parse_input(input_json)
    name, _, version = (model or DEFAULT_MODEL).partition(":")
    description = _fetch_model(stack, name)
    latest_version = description.get("latest_version") or {}
    if not version and not description.get("is_official"):
        version = latest_version.get("id", "")
    schema = _find_input_schema(latest_version)
    model_input = _choose_prompt(schema, prompt or DEFAULT_PROMPT)
    if model is None:
        model_input["output_format"] = "png"  # It shows what compression saves.
    model_input |= extra_input
    _check_required(name, schema, model_input)
    return ModelRequest(name, version or None, model_input)


def _parse_input(text: str | None) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise LocalError(f"INPUT is not JSON: {error}; for example INPUT='{{\"num_outputs\": 2}}'") from error
    if not isinstance(value, dict):
        raise LocalError("INPUT is not a JSON object; for example INPUT='{\"num_outputs\": 2}'")
    return value


def _fetch_model(stack: Stack, name: str) -> dict[str, Any]:
    owner, separator, short_name = name.partition("/")
    response = None
    if separator and owner and short_name and "/" not in short_name:
        response = _get(stack, f"/v1/models/{name}")
        if response.ok:
            model: dict[str, Any] = response.json()
            return model
    if response is not None and response.status_code != requests.codes.not_found:
        raise LocalError(f"cannot read the model {name}: {response.status_code} {response.text[:300]}")
    raise LocalError(f"there is no model {name}; {_suggest_models(stack)}")


def _suggest_models(stack: Stack) -> str:
    if stack.upstream_url != stack.simulator_url:
        return "https://replicate.com/explore lists Replicate's models"
    models = _get(stack, "/v1/models").json()["results"][:_MAX_LISTED_MODELS]
    names = sorted(f"{model['owner']}/{model['name']}" for model in models)
    return f"the local Replicate has {', '.join(names)}"


def _get(stack: Stack, path: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    return requests.get(stack.api_url + path, headers=headers, timeout=_TIMEOUT_SECONDS)


def _find_input_schema(version: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the JSON schema of the input (Replicate's OpenAPI document: `openapi_schema` of a version)."""
    schemas = (version.get("openapi_schema") or {}).get("components", {}).get("schemas", {})
    schema: Mapping[str, Any] = schemas.get("Input") or {}
    return schema


def _choose_prompt(schema: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    """Return the input with the prompt; a model without schema gets it as `prompt`."""
    properties = schema.get("properties")
    if properties is None:
        return {"prompt": prompt}
    accepted = [name for name in _PROMPT_FIELDS if name in properties]
    return dict.fromkeys(accepted[:1], prompt)


def _check_required(model: str, schema: Mapping[str, Any], model_input: Mapping[str, Any]) -> None:
    missing = [name for name in schema.get("required", ()) if name not in model_input]
    if missing:
        example = json.dumps(dict.fromkeys(missing, "…"), ensure_ascii=False)
        raise LocalError(f"{model} needs {', '.join(missing)}: pass INPUT='{example}'")
