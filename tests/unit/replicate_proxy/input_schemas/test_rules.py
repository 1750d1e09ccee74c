"""What is kept of the schema that a model's author has written."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_proxy.input_schemas.rules import build_rules
from tests.support.schemas import make_document, make_rules


def test_rules_hold_what_limits_a_value() -> None:
    properties = {
        "prompt": {"type": "string", "title": "Prompt", "x-order": 0, "description": "What to paint"},
        "width": {"type": "integer", "minimum": 64, "maximum": 1440, "default": 1024},
    }

    assert make_rules(properties, required=["prompt"]) == {
        "type": "object",
        "required": ["prompt"],
        "properties": {
            "prompt": {"type": "string"},
            "width": {"type": "integer", "minimum": 64, "maximum": 1440},
        },
    }


def test_choices_of_cog_are_inlined() -> None:
    choices = {"title": "size", "description": "An enumeration.", "enum": ["s", "m"], "type": "string"}
    properties = {"size": {"allOf": [{"$ref": "#/components/schemas/size"}], "default": "s", "x-order": 1}}

    rules = make_rules(properties, schemas={"size": choices})

    assert rules["properties"] == {"size": {"allOf": [{"enum": ["s", "m"]}]}}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"type": "string", "pattern": "^(a+)+$"}, {"type": "string"}),
        ({"type": "string", "format": "password", "maxLength": 5}, {"type": "string", "maxLength": 5}),
        ({"type": "integer", "ge": 1, "multipleOf": 2, "not": {"const": 3}}, {"type": "integer"}),
        ({"type": "integer", "minimum": "1", "maximum": True}, {"type": "integer"}),
        ({"type": "number", "maximum": float("inf")}, {"type": "number"}),
        ({"type": "string", "minLength": -1, "maxLength": 2.5}, {"type": "string"}),
        ({"minimum": 0, "exclusiveMinimum": True}, {"minimum": 0, "exclusiveMinimum": 0}),
        ({"type": "number", "exclusiveMaximum": 5}, {"type": "number", "exclusiveMaximum": 5}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"enum": ["a"], "nullable": True}, {"enum": ["a", None]}),
        ({"type": "text"}, {}),
        ({"type": ["string", 3]}, {}),
        ({"enum": [["a"]]}, {}),
        ({"enum": ["1", "2"], "type": "integer"}, {"enum": ["1", "2"]}),
        ({"oneOf": [{"type": "string"}, 7]}, {"anyOf": [{"type": "string"}, {}]}),
        ({"$ref": "https://evil.example/schema.json"}, {}),
        ({"$ref": "#/components/schemas/Missing"}, {}),
        ({"$ref": 5}, {}),
        ("text", {}),
    ],
    ids=str,
)
def test_keywords_that_are_unknown_or_invalid_are_left_out(source: Any, expected: dict[str, Any]) -> None:
    assert make_rules({"field": source})["properties"]["field"] == expected


def test_required_field_with_a_default_may_be_missing() -> None:
    properties = {"prompt": {"type": "string", "default": "a cat"}}

    assert "required" not in make_rules(properties, required=["prompt", "unknown", 3])


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"components": {"schemas": {"Input": "text"}}},
        make_document({}),
        make_document({"a": {"$ref": "#/components/schemas/Input"}}),
        make_document({str(number): {} for number in range(3000)}),
        make_document({"a": {"enum": list(range(20_000))}}),
        make_document({"x" * 300: {}}),
        make_document(
            {str(number): {"$ref": "#/components/schemas/Large"} for number in range(100)},
            schemas={"Large": {"enum": list(range(1000))}},
        ),
    ],
    ids=[
        "null",
        "list",
        "text",
        "no fields",
        "endless reference",
        "many fields",
        "huge enum",
        "long name",
        "many references",
    ],
)
def test_schema_that_is_missing_or_too_large_has_no_rules(document: Any) -> None:
    assert build_rules(document) is None


def test_deep_schema_has_no_rules() -> None:
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        nested = {"items": nested}

    assert build_rules(make_document({"a": nested})) is None
