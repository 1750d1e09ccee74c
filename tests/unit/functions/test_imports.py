"""What a handler does not load: each package here is a noticeable part of a cold start."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tools.local.paths import ROOT

# `make bench imports` measures the time of these four.
_NEVER = ("boto3", "jsonschema_rs", "PIL", "aws_xray_sdk")
_NOT_LOADED = {
    "ingest": (*_NEVER, "requests"),
    "dispatch": (*_NEVER, "pydantic"),
    "query": (*_NEVER, "requests", "pydantic"),
    "webhook": (*_NEVER, "requests", "pydantic"),
}


@pytest.mark.parametrize("function", _NOT_LOADED)
def test_handler_does_not_load_what_it_rarely_needs(function: str) -> None:
    script = "import sys; import app; print(*{name.partition('.')[0] for name in sys.modules})"
    finished = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "functions" / function,
        capture_output=True,
        check=True,
        text=True,
    )

    assert "replicate_proxy" in finished.stdout.split()
    assert set(finished.stdout.split()).isdisjoint(_NOT_LOADED[function])
