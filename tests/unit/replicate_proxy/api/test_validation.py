"""One format of validation errors for all routes, in Replicate's shape."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from replicate_proxy.api.validation import RequestBody, parse_body
from replicate_proxy.errors import ApiError, InvalidField, field_error, parameter_error
from tests.support.memory import measure_peak_bytes


class _Limits(RequestBody):
    rate: Annotated[int, Field(ge=1)]


class _Body(RequestBody):
    name: str
    limits: _Limits | None = None
    entries: tuple[_Limits, ...] = ()
    events: tuple[Literal["start"], ...] = ()


def reject(body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_body(_Body, body)
    return caught.value


def test_valid_body_becomes_the_model() -> None:
    assert parse_body(_Body, {"name": "x", "limits": {"rate": 2}}) == _Body(name="x", limits=_Limits(rate=2))


@pytest.mark.parametrize("body", [None, [], "x", 1, True])
def test_body_that_is_not_an_object_is_rejected(body: Any) -> None:
    error = reject(body)
    assert (error.status, error.title) == (422, "Input validation failed")
    assert error.detail == "- The body must be a JSON object\n"


def test_unknown_field_is_reported_as_replicate_does() -> None:
    error = reject({"name": "x", "color": "red"})
    assert error.detail == "- Additional property color is not allowed\n"
    assert error.invalid_fields == (
        InvalidField("additional_property_not_allowed", "", "Additional property color is not allowed"),
    )


def test_unknown_nested_field_is_reported_with_its_object() -> None:
    error = reject({"name": "x", "limits": {"rate": 1, "burst": 1}})
    assert error.detail == "- limits: Additional property burst is not allowed\n"


def test_every_invalid_field_is_named_with_its_path() -> None:
    error = reject({"limits": {"rate": 0}})
    assert [(field.type, field.field) for field in error.invalid_fields] == [
        ("required", "name"),
        ("greater_than_equal", "limits.rate"),
    ]
    assert error.detail.splitlines()[0] == "- name: is required"


UNKNOWN_FIELDS = {f"field{number}": 1 for number in range(100_000)}


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (UNKNOWN_FIELDS, 100_001),
        ({"name": "x", "limits": {"rate": 1, **UNKNOWN_FIELDS}}, 100_000),
        ({"name": "x", "entries": [{"rate": 1, **UNKNOWN_FIELDS}, {}]}, 100_001),
        ({"name": "x", "entries": [{"rate": 0}] * 30}, 30),
        ({"name": "x", "events": ["none"] * 60_000}, 60_000),
    ],
    ids=["unknown", "unknown in object", "unknown in list", "invalid", "invalid in list"],
)
def test_first_of_many_invalid_fields_are_listed_and_all_are_counted(body: Any, count: int) -> None:
    error = reject(body)
    assert len(error.invalid_fields) == 20
    assert error.invalid_field_count == count
    assert error.detail.splitlines()[-1] == f"- and {count - 20} more, {count} invalid fields in all"
    assert len(error.detail) < 3_000


def test_unknown_fields_take_little_memory() -> None:
    assert measure_peak_bytes(lambda: reject(UNKNOWN_FIELDS)) < 25_000_000


def test_long_paths_are_cut() -> None:
    error = field_error("input." + "k" * 10_000, "is wrong")
    assert len(error.invalid_fields[0].field) == 200
    assert len(error.detail) < 300


def test_long_names_are_cut() -> None:
    (field,) = reject({"name": "x", "y" * 5000: 1}).invalid_fields
    assert len(field.description) < 200


def test_parameter_error_is_a_400_in_the_same_format() -> None:
    error, body_error = parameter_error("since", "must be a time"), field_error("since", "must be a time")
    assert (error.status, body_error.status) == (400, 422)
    assert error.detail == body_error.detail == "- since: must be a time\n"
    assert error.invalid_fields == body_error.invalid_fields
