"""Validation of inputs: in Replicate's words, and never stricter than Replicate."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import pytest

from tests.support.schemas import make_schema

SCHEMA = make_schema(
    {
        "prompt": {"type": "string", "minLength": 1, "maxLength": 20},
        "width": {"type": "integer", "minimum": 64, "maximum": 1440},
        "strength": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "size": {"allOf": [{"$ref": "#/components/schemas/size"}]},
        "steps": {"enum": [1, 4, 8], "type": "integer"},
        "tiled": {"type": "boolean"},
        "image": {"type": "string", "format": "uri"},
        "images": {
            "type": "array",
            "items": {"type": "string", "format": "uri"},
            "minItems": 1,
            "maxItems": 3,
        },
        "either": {"anyOf": [{"type": "string"}, {"type": "array"}]},
        "seed": {"type": "integer"},
    },
    required=["prompt"],
    schemas={"size": {"type": "string", "enum": ["1:1", "16:9"]}},
)


def find(model_input: dict[str, Any], **options: Any) -> list[tuple[str, str, str]]:
    errors = SCHEMA.find_errors({"prompt": "a cat", **model_input}, **options)
    return [(error.type, error.field, error.description) for error in errors]


@pytest.mark.parametrize(
    ("name", "value", "error_type", "description"),
    [
        ("width", 9000, "number_lte", "Must be less than or equal to 1440"),
        ("width", 1, "number_gte", "Must be greater than or equal to 64"),
        ("width", "wide", "invalid_type", "Invalid type. Expected: integer, given: string"),
        ("width", 100.5, "invalid_type", "Invalid type. Expected: integer, given: number"),
        ("width", [512], "invalid_type", "Invalid type. Expected: integer, given: array"),
        ("width", "9" * 50, "invalid_type", "Invalid type. Expected: integer, given: string"),
        ("width", "1441", "number_lte", "Must be less than or equal to 1440"),
        ("strength", 0, "number_gt", "Must be greater than 0"),
        ("strength", 1, "number_lt", "Must be less than 1"),
        ("prompt", "", "string_gte", "String length must be greater than or equal to 1"),
        ("prompt", "x" * 21, "string_lte", "String length must be less than or equal to 20"),
        ("prompt", ["a cat"], "invalid_type", "Invalid type. Expected: string, given: array"),
        ("prompt", None, "invalid_type", "Invalid type. Expected: string, given: null"),
        ("size", "4:3", "enum", 'size must be one of the following: "1:1", "16:9"'),
        ("steps", 2, "enum", "steps must be one of the following: 1, 4, 8"),
        ("tiled", "maybe", "invalid_type", "Invalid type. Expected: boolean, given: string"),
        ("tiled", 2, "invalid_type", "Invalid type. Expected: boolean, given: integer"),
        ("image", "cat.png", "format", "Does not match format 'uri'"),
        ("images", "https://a.test/1.png", "invalid_type", "Invalid type. Expected: array, given: string"),
        ("images", [], "array_min_items", "Array must have at least 1 items"),
        ("images", ["https://a.test"] * 4, "array_max_items", "Array must have at most 3 items"),
        ("either", {"a": 1}, "number_any_of", "Must validate at least one schema (anyOf)"),
    ],
)
def test_invalid_value_is_described_like_replicate_does(
    name: str, value: object, error_type: str, description: str
) -> None:
    assert find({name: value}) == [(error_type, f"input.{name}", description)]


def test_item_of_a_list_is_named() -> None:
    errors = find({"images": ["https://a.test/1.png", "2.png"]})

    assert errors == [("format", "input.images.1", "Does not match format 'uri'")]


def test_all_errors_are_named_and_missing_fields_as_at_replicate() -> None:
    errors = SCHEMA.find_errors({"width": 1, "size": "4:3"})

    assert {(error.type, error.field) for error in errors} == {
        ("required", "input"),
        ("number_gte", "input.width"),
        ("enum", "input.size"),
    }
    assert next(error.description for error in errors if error.type == "required") == "prompt is required"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", "512"),
        ("width", 512.0),
        ("width", None),
        ("seed", True),
        ("seed", 10**30),
        ("strength", "0.5"),
        ("prompt", 42),
        ("prompt", True),
        ("size", None),
        ("steps", "4"),
        ("steps", 4.0),
        ("tiled", "true"),
        ("tiled", "No"),
        ("tiled", 0),
        ("image", "data:image/png;base64,AAAA"),
        ("image", "http://a.test/ä b.png"),
        ("image", "https://proxy.test/v1/files/abc/download?expires=1&signature=s"),
        ("image", ""),
        ("unknown", {"any": "thing"}),
    ],
)
def test_value_that_replicate_may_take_passes(name: str, value: object) -> None:
    assert find({name: value}) == []


def test_fields_may_be_missing_from_a_part_of_an_input() -> None:
    assert SCHEMA.find_errors({}, is_complete=False) == []
    [error] = SCHEMA.find_errors({"width": 1}, path="defaults", is_complete=False)
    assert error.field == "defaults.width"


def test_text_that_is_not_unicode_passes() -> None:
    assert find({"image": "\ud800"}) == []


def test_not_all_errors_of_a_large_input_are_listed() -> None:
    """Each takes 1.6 kB of memory, and those of the whole input have a copy of it."""
    names = [f"field {number}" for number in range(100)]
    texts = {name: {"type": "string"} for name in [*names, "prompt"]}
    properties = {"images": {"type": "array", "items": {"type": "string"}}, **texts}
    schema = make_schema(properties, required=names, additionalProperties=False)

    tracemalloc.start()
    errors = schema.find_errors({"images": [[]] * 200_000, "prompt": [], "other": 1})
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    listed = {(error.type, error.field) for error in errors}
    assert {("invalid_type", "input.prompt"), ("invalid_type", "input.images.0")} <= listed
    assert sum(error.type == "required" for error in errors) == 100
    assert ("additional_property_not_allowed", "input") in listed
    assert len(errors) < 1200
    assert peak_bytes < 30_000_000


@pytest.mark.parametrize(
    ("model_input", "error_type", "field"),
    [
        ({"images": ["https://a.test"] * 5000 + ["b.png"]}, "format", "input.images.5000"),
        ({"prompt": "x" * 25_000}, "string_lte", "input.prompt"),
        ({f"field {number}": 0 for number in range(3000)}, "additional_property_not_allowed", "input"),
    ],
)
def test_error_far_into_an_input_is_found(model_input: dict[str, Any], error_type: str, field: str) -> None:
    properties = {
        "images": {"type": "array", "items": {"type": "string", "format": "uri"}},
        "prompt": {"type": "string", "maxLength": 24_000},
    }
    schema = make_schema(properties, additionalProperties=False)

    errors = schema.find_errors(model_input)

    assert (error_type, field) in {(error.type, error.field) for error in errors}


def test_long_list_of_choices_is_cut() -> None:
    schema = make_schema({"voice": {"enum": [f"voice {number}" for number in range(1000)]}})

    [error] = schema.find_errors({"voice": "mine"})

    assert error.description.endswith('"voice 29", and 970 more')


def test_unknown_field_is_refused_only_where_the_schema_says_so() -> None:
    strict = make_schema({"prompt": {"type": "string"}}, additionalProperties=False)

    [error] = strict.find_errors({"prompt": "a", "prompts": "b"})

    assert (error.type, error.field) == ("additional_property_not_allowed", "input")
    assert error.description == "Additional property prompts is not allowed"
    assert SCHEMA.find_unknown_names({"prompts": "b", "prompt": "a"}) == ["prompts"]


def test_early_cog_lists_choices_of_numbers_as_texts() -> None:
    schema = make_schema({"side": {"enum": ["32", "64"], "type": "integer"}})

    assert schema.find_errors({"side": 64}) == []
    assert schema.find_errors({"side": "64"}) == []
    assert len(schema.find_errors({"side": 65})) == 1


def test_library_is_loaded_with_the_first_validation_only() -> None:
    program = (
        "import sys; from tests.support.schemas import make_schema; import replicate_proxy.bootstrap.ingest;"
        "schema = make_schema({'a': {'type': 'string'}}); schema.find_unknown_names({'b': 1});"
        "assert 'jsonschema_rs' not in sys.modules and 'difflib' not in sys.modules;"
        "schema.find_errors({}); assert 'jsonschema_rs' in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True, env={"PYTHONPATH": ":".join(sys.path)})
