"""Strict JSON: everything that can be written back as JSON, and nothing else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.strict_json import parse_strict_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_parse_returns_what_was_dumped(value: object) -> None:
    assert parse_strict_json(json.dumps(value).encode()) == value
    assert parse_strict_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary())
def test_parsed_value_can_be_dumped_and_encoded(body: bytes) -> None:
    try:
        value = parse_strict_json(body)
    except ValueError:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"[-1e400]",
        b"9" * 5000,
        b'"\\ud800"',
        b'{"\\udfff": 1}',
        b"\xff",
        b"",
        b"[",
    ],
)
def test_parse_rejects_what_cannot_be_written_back(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_strict_json(body)


def test_parse_rejects_excessive_nesting() -> None:
    with pytest.raises((RecursionError, ValueError)):
        parse_strict_json(b"[" * 200_000)
