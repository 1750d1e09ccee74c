"""Validation of inputs with the schemas and the example inputs of Replicate's public models.

`make schemas` installs the npm package all-the-public-replicate-models, which Replicate publishes, and runs
this module alone. The package has no license: nothing of it is stored here.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.errors import InvalidField
from replicate_proxy.input_schemas.coercion import coerce_input
from replicate_proxy.input_schemas.known_schemas import MAX_RECORD_CHARACTERS, _encode
from replicate_proxy.input_schemas.rules import Rules, build_rules
from replicate_proxy.input_schemas.schema import InputSchema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODELS = Path(__file__).parent / "schemas/node_modules/all-the-public-replicate-models/models.json"
# Examples of another version than the one whose schema is given, which that version does not take.
EXAMPLES_OF_OTHER_VERSIONS = 44
# No input of these is left: Replicate has removed the data.
REMOVED_EXAMPLES = 12
CORRUPTED_INPUTS = {
    "missing": 2353,
    "wrong type": 3748,
    "not a choice": 2538,
    "above maximum": 2724,
    "below minimum": 2777,
}
MODELS_WITHOUT_FIELDS = {"andreasjansson/plasma", "elleo/uk-petition-generator"}

pytestmark = pytest.mark.skipif(not MODELS.exists(), reason="make schemas installs the schemas")


@dataclass(frozen=True)
class PublicModel:
    """A model with the rules of its latest version, and its example."""

    name: str
    rules: Rules | None
    example: Mapping[str, Any]
    is_of_version: bool
    is_removed: bool

    @property
    def schema(self) -> InputSchema:
        assert self.rules is not None
        return InputSchema(self.rules)


@cache
def load_models() -> list[PublicModel]:
    return [
        PublicModel(
            name=f"{model['owner']}/{model['name']}",
            rules=build_rules(model["latest_version"]["openapi_schema"]),
            example=model["default_example"]["input"],
            is_of_version=model["default_example"]["version"] == model["latest_version"]["id"],
            is_removed=bool(model["default_example"]["data_removed"]),
        )
        for model in json.loads(MODELS.read_text())
    ]


def list_usable() -> list[PublicModel]:
    """Return the models with rules whose example still has its input."""
    return [model for model in load_models() if model.rules is not None and not model.is_removed]


def test_every_schema_is_understood_and_fits_into_a_record() -> None:
    models = load_models()

    assert len(models) == 3808
    assert {model.name for model in models if model.rules is None} == MODELS_WITHOUT_FIELDS
    assert sum(model.is_removed for model in models) == REMOVED_EXAMPLES
    sizes = [len(_encode(model.rules)) for model in models if model.rules is not None]
    assert max(sizes) <= MAX_RECORD_CHARACTERS / 2


def test_every_example_of_the_version_passes() -> None:
    failed = {
        model.name: errors
        for model in list_usable()
        if model.is_of_version and (errors := model.schema.find_errors(model.example))
    }

    assert failed == {}


def test_examples_of_other_versions_fail_only_where_the_versions_differ() -> None:
    """A missing field, a choice or a limit that the example's version did not have; never a type."""
    failed = [
        error.type
        for model in list_usable()
        if not model.is_of_version
        for error in model.schema.find_errors(model.example)[:1]
    ]

    assert set(failed) <= {"required", "enum", "number_lte"}
    assert len(failed) == EXAMPLES_OF_OTHER_VERSIONS


def test_corrupted_field_is_the_one_that_is_named() -> None:
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for model in list_usable():
        schema = model.schema
        if schema.find_errors(model.example):
            continue
        for kind, name, corrupted in corrupt(model.rules or {}, model.example):
            counts[kind] += 1
            errors = schema.find_errors(corrupted)
            if [_name(error) for error in errors] != [name]:
                wrong.append(f"{model.name} {kind} {name}: {errors}")

    assert wrong == []
    assert counts == CORRUPTED_INPUTS


def _name(error: InvalidField) -> str:
    return error.description.split()[0] if error.type == "required" else error.field.split(".")[1]


def corrupt(rules: Rules, example: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield an input for each way in which a field can be wrong: the way, the field, the input."""
    for name in rules.get("required", ())[:1]:
        yield "missing", name, {field: value for field, value in example.items() if field != name}
    done: set[str] = set()
    for name, field in rules["properties"].items():
        for kind, value in _list_wrong_values(field):
            if kind not in done:
                done.add(kind)
                yield kind, name, {**example, name: value}


def _list_wrong_values(field: Rules) -> Iterator[tuple[str, Any]]:
    parts = [field, *field.get("allOf", ())]
    if any("enum" in part for part in parts):
        yield "not a choice", "none of the choices"
    if isinstance(field.get("type"), str):
        yield "wrong type", "text" if field["type"] in ("array", "object") else {"an": "object"}
    if field.get("type") in ("integer", "number"):
        if "maximum" in field:
            yield "above maximum", field["maximum"] + 1
        if "minimum" in field:
            yield "below minimum", field["minimum"] - 1


def test_validation_of_an_input_changes_nothing_of_it() -> None:
    for model in list_usable()[:200]:
        before = json.dumps(model.example)
        coerce_input(model.example, model.rules or {})
        assert json.dumps(model.example) == before
