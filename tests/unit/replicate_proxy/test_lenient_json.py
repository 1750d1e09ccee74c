"""Lenient JSON: what comes from Replicate is parsed, and what is returned can be written back as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.lenient_json import MAX_DEPTH, parse_lenient_json
from tests.unit.replicate_proxy.test_strict_json import VALUES

JSON_LIKE_TEXT = st.text(alphabet='[]{}",:\\u0d8019eE+-.ntf \n')


@given(VALUES)
def test_parse_returns_what_was_dumped(value: object) -> None:
    assert parse_lenient_json(json.dumps(value).encode()) == value
    assert parse_lenient_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary() | JSON_LIKE_TEXT.map(str.encode))
def test_parsed_value_can_be_dumped_and_encoded(body: bytes) -> None:
    try:
        value = parse_lenient_json(body)
    except ValueError:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"NaN", None),
        (b"[Infinity, -Infinity]", [None, None]),
        (b"1e400", "1e400"),
        (b'{"a": [-1e999]}', {"a": ["-1e999"]}),
        (b"1" + b"0" * 400 + b".5", "1" + "0" * 400 + ".5"),
        (b"9" * 5000, "9" * 5000),
        (b"-" + b"9" * 309, "-" + "9" * 309),
        (b"1" + b"0" * 308, 10**308),
        (b"1e-400", 0.0),
        (b'"\xff"', "\N{REPLACEMENT CHARACTER}"),
        (b'{"\\udfff": "\\ud800"}', {"\N{REPLACEMENT CHARACTER}": "\N{REPLACEMENT CHARACTER}"}),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b'"a\nb\x1b"', "a\nb\x1b"),
        (b"\xef\xbb\xbf[]", []),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_parse_replaces_what_cannot_be_written_back(body: bytes, expected: object) -> None:
    assert parse_lenient_json(body) == expected


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 1_100, 200_000])
@pytest.mark.parametrize("escape", ["", "\\u00e9", "\\ud800", '\\"]'])
def test_deep_nesting_becomes_text(depth: int, escape: str) -> None:
    body = "[" * depth + f'"{escape}"' + "]" * depth
    value: Any = parse_lenient_json(f'{{"before": 1, "output": {body}, "after": [2]}}'.encode())

    assert (value["before"], value["after"]) == (1, [2])
    inner = value["output"]
    for _ in range(MAX_DEPTH - 1):
        (inner,) = inner
    hidden = depth - MAX_DEPTH + 1
    assert inner == "[" * hidden + f'"{escape}"' + "]" * hidden


def test_wide_values_keep_their_nesting() -> None:
    value = [[{"a": [index]}] for index in range(1000)]
    assert parse_lenient_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[" * 200_000, b"]" * 200, b"[}" * 200, b'{"a":' * 200_000, b"<html>"]
)
def test_parse_raises_when_body_is_no_json(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_lenient_json(body)
