"""Pages fit into a response: what does not fit is left out, and a page that does not is an error."""

from __future__ import annotations

import json

import pytest

from replicate_proxy.console.page_space import PageSpace
from replicate_proxy.console.responses import html_response
from replicate_proxy.errors import ApiError
from replicate_proxy.response_size import MAX_RESPONSE_BYTES


def test_json_that_fits_is_shown_to_read() -> None:
    value = {"prompt": "Tom & Jerry’s", "size": [1, 2]}
    assert PageSpace().fit_json(value) == json.dumps(value, indent=2, ensure_ascii=False)


def test_text_is_measured_as_it_is_sent() -> None:
    # Two quotes of the JSON string of the body, and five characters for each quote of the text.
    assert PageSpace(5 * 10 + 2).fit_text('"' * 10) == '"' * 10
    assert PageSpace(5 * 10 + 1).fit_text('"' * 10) is None


def test_parts_share_the_space_and_one_that_does_not_fit_takes_none() -> None:
    space = PageSpace(100)
    assert space.fit_text("a" * 60) is not None
    assert space.fit_json(["b"] * 1000) is None
    assert space.fit_text("c" * 30) is not None
    assert space.fit_text("d" * 30) is None


def test_json_that_is_nested_too_deeply_is_left_out() -> None:
    assert PageSpace().fit_json(json.loads("[" * 5000 + "]" * 5000)) is None


def test_page_that_lambda_would_refuse_is_an_error() -> None:
    assert html_response(200, "x" * (MAX_RESPONSE_BYTES - 2), "")["statusCode"] == 200
    with pytest.raises(ApiError) as raised:
        html_response(200, "x" * MAX_RESPONSE_BYTES, "")
    assert (raised.value.status, raised.value.title) == (500, "Page too large")
