"""Memory that parsing a hostile create request takes, from bytes to the validated job request.

The function has 512 MB, of which the runtime and our imports take about 100. The bodies have up to half a
megabyte; a body of the largest size, 5 MB, takes ten times as much.
"""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from replicate_proxy.api.http import Request
from replicate_proxy.api.predictions.job_request_parser import JobRequestParser, ParserSettings
from replicate_proxy.errors import ApiError
from replicate_proxy.files.signed_downloads import check_input_files
from tests.support.builders import VERSION, make_event
from tests.support.clock import NOW
from tests.support.memory import measure_peak_bytes
from tests.support.pipeline import PRINCIPAL


def parse(body: str) -> None:
    parser = JobRequestParser(
        ParserSettings(),
        lambda value, principal, base_url: check_input_files(
            value, principal, load_signing_key=lambda: b"key", base_url=base_url, now=NOW
        ),
    )
    event = make_event("POST", "/v1/predictions") | {"body": body}
    with suppress(ApiError):
        parser.parse(Request.from_event(event), None, PRINCIPAL).calculate_fingerprint()


def build_body(value: str) -> str:
    return f'{{"version": "{VERSION}", "input": {{"x": {value}}}}}'


@pytest.mark.parametrize(
    ("body", "max_megabytes"),
    [
        pytest.param(build_body(json.dumps({"k" * 10_000: [0] * 100_000})), 5, id="long key"),
        pytest.param(build_body("[" + "[]," * 160_000 + "[]]"), 25, id="many lists"),
        pytest.param(build_body("[" * 60 + "[]," * 160_000 + "[]" + "]" * 60), 25, id="deep lists"),
        pytest.param(build_body(json.dumps(["http://a"] * 40_000)), 6, id="many URLs"),
        pytest.param(json.dumps({f"field{number}": 0 for number in range(30_000)}), 15, id="unknown fields"),
    ],
)
def test_parsing_takes_bounded_memory(body: str, max_megabytes: int) -> None:
    assert len(body) < 500_000
    assert measure_peak_bytes(lambda: parse(body)) < max_megabytes * 1_000_000
