"""The header X-Metadata."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.jobs.metadata import (
    format_metadata,
    is_metadata_name,
    is_metadata_value,
    parse_metadata,
)

NAMES = st.from_regex(re.compile(r"[A-Za-z0-9_.-]{1,40}", re.ASCII), fullmatch=True)
VALUES = st.from_regex(re.compile(r"[!-+\--~]([ -+\--~]{0,98}[!-+\--~])?", re.ASCII), fullmatch=True)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=10))
def test_formatted_pairs_are_parsed_as_they_were(pairs: dict[str, str]) -> None:
    assert parse_metadata(format_metadata(pairs)) == pairs


@given(
    st.text()
    | st.lists(st.tuples(st.text(max_size=42), st.text(max_size=102))).map(
        lambda pairs: ",".join(f"{name}={value}" for name, value in pairs)
    )
)
def test_any_text_is_valid_pairs_or_an_error(text: str) -> None:
    with suppress(ValueError):
        pairs = parse_metadata(text)
        assert 1 <= len(pairs) <= 10
        assert all(is_metadata_name(name) and is_metadata_value(value) for name, value in pairs.items())
        assert parse_metadata(format_metadata(pairs)) == pairs


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("order=42,user=7", {"order": "42", "user": "7"}),
        (" order = 42 , user=7 ", {"order": "42", "user": "7"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=two words", {"a": "two words"}),
        ("Order=1,order=2", {"Order": "1", "order": "2"}),
        (f"{'n' * 40}={'v' * 100}", {"n" * 40: "v" * 100}),
    ],
)
def test_documented_forms_are_accepted(text: str, pairs: dict[str, str]) -> None:
    assert parse_metadata(text) == pairs


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "pair 1 has no equals sign"),
        ("order=42,", "pair 2 has no equals sign"),
        ("order", "pair 1 has no equals sign"),
        ("=42", "the name of pair 1 must have 1 to 40"),
        ("a b=1", "the name of pair 1"),
        ("ö=1", "the name of pair 1"),
        (f"{'n' * 41}=1", "the name of pair 1"),
        ("a=1,b=", "the value of pair 2 must have 1 to 100"),
        (f"a={'v' * 101}", "the value of pair 1"),
        ("a=ä", "the value of pair 1"),
        ("a=1\t", "the value of pair 1"),
        ("a=1\n", "the value of pair 1"),
        ("a=1,b=2,a=3", "pair 3 has the name of an earlier one"),
        (",".join(f"n{number}=1" for number in range(11)), "at most 10 pairs"),
    ],
)
def test_anything_else_is_an_error_that_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_metadata(text)
