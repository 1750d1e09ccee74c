"""Input schemas of models in memory, and the documents that Replicate publishes."""

from __future__ import annotations

from typing import Any

from replicate_proxy.input_schemas.rules import Rules, build_rules
from replicate_proxy.input_schemas.schema import InputSchema


def make_document(properties: Any, *, schemas: Any = None, **keywords: Any) -> dict[str, Any]:
    """Return the `openapi_schema` of a version whose Input has these properties."""
    model_input = {"type": "object", "title": "Input", "properties": properties, **keywords}
    return {"components": {"schemas": {"Input": model_input, **(schemas or {})}}}


def make_rules(properties: Any, **keywords: Any) -> Rules:
    rules = build_rules(make_document(properties, **keywords))
    assert rules is not None
    return rules


def make_schema(properties: Any, **keywords: Any) -> InputSchema:
    return InputSchema(make_rules(properties, **keywords))


IMAGE_PROPERTIES = {
    "prompt": {"type": "string"},
    "width": {"type": "integer", "minimum": 64, "maximum": 1440},
    "image": {"type": "string", "format": "uri"},
}
IMAGE_DOCUMENT = make_document(IMAGE_PROPERTIES, required=["prompt"])
IMAGE_RULES = make_rules(IMAGE_PROPERTIES, required=["prompt"])


class FakeSchemas:
    """Schemas by target. A target is due, and can be claimed, until its schema is recorded."""

    def __init__(self) -> None:
        self.known: dict[str, InputSchema] = {}
        self.recorded: dict[str, Rules | None] = {}

    def put(self, target: str, rules: Rules = IMAGE_RULES) -> None:
        self.known[target] = InputSchema(rules)

    def find(self, target: str) -> InputSchema | None:
        return self.known.get(target)

    def is_due(self, target: str) -> bool:
        return target not in self.recorded

    def claim(self, target: str) -> bool:
        return target not in self.recorded

    def record(self, target: str, rules: Rules | None) -> None:
        self.recorded[target] = rules
