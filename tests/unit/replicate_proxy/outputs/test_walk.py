"""File references in any JSON shape."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.outputs.references import (
    FileReference,
    JsonPath,
    find_references,
    is_file_reference,
    replace_references,
)

URL = "https://replicate.delivery/pbxt/abc/out-0.png"

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
urls = st.sampled_from([URL, "https://pbxt.replicate.delivery/x", "data:image/png;base64,AAAA", "http://x/y"])
outputs = st.recursive(
    plain | urls,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


@pytest.mark.parametrize(
    ("output", "paths"),
    [
        (URL, [()]),
        ([URL, URL], [(0,), (1,)]),
        ({"image": URL, "text": "hi"}, [("image",)]),
        ([{"text": "a", "file": URL}, {"file": None}], [(0, "file")]),
        ([[URL], [URL]], [(0, 0), (1, 0)]),
        ({"a": [URL], "b": URL}, [("a", 0), ("b",)]),
        ({"a": {"b": {"c": URL}}}, [("a", "b", "c")]),
        (["text", 1, 2.5, None, True], []),
        ({URL: "a key is no file"}, []),
        (None, []),
        ("a text that mentions " + URL, []),
        (URL + " and goes on", []),
        ("", []),
    ],
)
def test_the_shapes_of_real_models(output: Any, paths: list[JsonPath]) -> None:
    assert [ref.path for ref in find_references(output)] == paths


@pytest.mark.parametrize(
    "text",
    [
        URL,
        "http://a.b/c",
        "HTTPS://A.B/c",
        "data:image/png;base64,AAAA",
        "data:,x",
        "https://a/" + "b" * 5000,
        "data:text/plain;charset=utf-8;base64," + "A" * 300000,
    ],
)
def test_references(text: str) -> None:
    assert is_file_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "ftp://a.b/c",
        "//a.b/c",
        "a.png",
        "https://",
        "see https://a.b/c",
        "https://a.b/c\n",
        " https://a.b/c",
        "data:image/png;base64",
        "data: the results were good, we think",
        "https://a/" + "b" * 10000,
    ],
)
def test_no_references(text: str) -> None:
    expected = text.startswith("data: ")
    assert is_file_reference(text) == expected


def test_249_files_keep_their_order() -> None:
    output = {"frames": [f"{URL}?{index}" for index in range(249)], "fps": 24}

    found = find_references(output)

    assert [ref.url for ref in found] == output["frames"]


def test_nesting_deeper_than_the_stack_is_no_danger() -> None:
    output: Any = URL
    for _ in range(50_000):
        output = [output]

    (found,) = find_references(output)

    assert len(found.path) == 50_000
    assert find_references(replace_references(output, {found.path: "https://ours/1"})) == [
        FileReference(found.path, "https://ours/1")
    ]


@given(outputs)
def test_replacing_nothing_changes_nothing(output: Any) -> None:
    assert replace_references(output, {}) == output


@given(outputs)
def test_only_references_change_and_the_order_of_keys_stays(output: Any) -> None:
    before = copy.deepcopy(output)
    mapping = {ref.path: f"https://ours.example/{index}" for index, ref in enumerate(find_references(output))}

    replaced = replace_references(output, mapping)

    assert output == before
    assert [ref.url for ref in find_references(replaced)] == list(mapping.values())
    back = replace_references(replaced, {ref.path: ref.url for ref in find_references(before)})
    assert json.dumps(back) == json.dumps(before)


@given(outputs)
def test_every_reference_is_found_where_it_lies(output: Any) -> None:
    for ref in find_references(output):
        value = output
        for step in ref.path:
            value = value[step]
        assert value == ref.url
