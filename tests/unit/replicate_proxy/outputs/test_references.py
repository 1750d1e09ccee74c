"""Finding and replacing file references in outputs of any JSON shape."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.json_tree import JsonPath
from replicate_proxy.outputs.references import (
    FileReference,
    find_references,
    is_file_reference,
    replace_references,
)
from tests.support.memory import measure_peak_bytes

URL = "https://replicate.delivery/pbxt/abc/out-0.png"

plain_values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
urls = st.sampled_from([URL, "https://pbxt.replicate.delivery/x", "data:image/png;base64,AAAA", "http://x/y"])
outputs = st.recursive(
    plain_values | urls,
    lambda children: (
        st.lists(children, max_size=5) | st.dictionaries(st.text(max_size=5), children, max_size=5)
    ),
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
        ("text with " + URL, []),
        (URL + " and more", []),
        ("", []),
    ],
)
def test_find_references_returns_paths_in_shapes_of_real_models(output: Any, paths: list[JsonPath]) -> None:
    assert [ref.path for ref in find_references(output)] == paths


@pytest.mark.parametrize(
    "text",
    [
        URL,
        "http://a.b/c",
        "HTTPS://A.B/c",
        "data:image/png;base64,AAAA",
        "data:text/plain,x",
        "data:;base64,AAAA",
        "data:;charset=utf-8,x",
        'DATA:application/x.y+z;a=b; c="d";BASE64,AAAA',
        "https://a/" + "b" * 5000,
        "https://a.b/c d/my file (1).png",
        "https://a.b/my\N{NO-BREAK SPACE}file.png?signature=a%20b",
        "https://ex\u200damp.com/a.png",
        "https://xn--/a b.png",
        "data:text/plain;charset=utf-8;base64," + "A" * 300000,
    ],
)
def test_url_or_data_uri_is_file_reference(text: str) -> None:
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
        "Data: revenue rose 4%, costs fell",
        'data: {"id":1}',
        'data: {"id":1,"text":"a,b"}\n\ndata: [DONE]',
        "data:,x",
        "data:1,2,3",
        "data:;,x",
        "data:a b/c,x",
        "data:text/plain; and so on, x",
        "data:text/plain" + ";a=b" * 200 + ",x",
        "https://a.b/c is where it is",
        "https://a.b is the host of c.png",
        "https://a.b/c.png and https://a.b/d.png",
        "https://a.b/c\nd.png",
        "https://a/" + "b" * 10000,
    ],
)
def test_other_text_is_no_file_reference(text: str) -> None:
    assert not is_file_reference(text)


def test_white_space_around_a_url_is_not_part_of_it() -> None:
    assert find_references([f" {URL}\n"]) == [FileReference((0,), URL)]


def test_find_references_keeps_order_of_249_files() -> None:
    output = {"frames": [f"{URL}?{index}" for index in range(249)], "fps": 24}

    references = find_references(output)

    assert [reference.url for reference in references] == output["frames"]


def test_references_are_found_and_replaced_when_nesting_exceeds_stack() -> None:
    output: Any = URL
    for _ in range(50_000):
        output = [output]

    (reference,) = find_references(output)

    assert len(reference.path) == 50_000
    assert find_references(replace_references(output, {reference.path: "https://ours/1"})) == [
        FileReference(reference.path, "https://ours/1")
    ]


def test_references_beyond_the_count_limit_are_left_as_they_are() -> None:
    references = find_references([f"http://{index}" for index in range(10_500)])

    assert references[-1] == FileReference((9_999,), "http://9999")
    assert len(references) == 10_000


@pytest.mark.parametrize(
    ("output", "max_bytes"),
    [
        pytest.param(
            json.loads("[" * 5_000 + ",".join(["0"] * 190_000) + "]" * 5_000), 5_000_000, id="deep numbers"
        ),
        pytest.param([["http://a"] * 40_000 for _ in range(5)], 5_000_000, id="many URLs"),
        pytest.param({"k" * 10_000: [0] * 100_000}, 10_000, id="long key"),
        pytest.param([{}] * 200_000, 10_000, id="many objects"),
    ],
)
def test_find_references_takes_little_memory(output: Any, max_bytes: int) -> None:
    assert measure_peak_bytes(lambda: find_references(output)) < max_bytes


@given(outputs)
def test_replace_references_returns_equal_output_without_urls(output: Any) -> None:
    assert replace_references(output, {}) == output


@given(outputs)
def test_replace_references_changes_only_references_of_a_copy(output: Any) -> None:
    original = copy.deepcopy(output)
    new_urls = {
        reference.path: f"https://ours.example/{index}"
        for index, reference in enumerate(find_references(output))
    }

    replaced = replace_references(output, new_urls)

    assert output == original
    assert [reference.url for reference in find_references(replaced)] == list(new_urls.values())
    old_urls = {reference.path: reference.url for reference in find_references(original)}
    # As JSON text, to compare the order of keys as well.
    assert json.dumps(replace_references(replaced, old_urls)) == json.dumps(original)


@given(outputs)
def test_path_of_reference_leads_to_its_url(output: Any) -> None:
    for reference in find_references(output):
        value = output
        for step in reference.path:
            value = value[step]
        assert value == reference.url
