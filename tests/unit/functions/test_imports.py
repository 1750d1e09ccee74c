"""What a handler does not load: each package here is a noticeable part of a cold start."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tools.local.paths import ROOT

# `make bench imports` measures the time of the imports.
_NEVER = (
    "asyncio",
    "aws_lambda_powertools.event_handler",
    "aws_lambda_powertools.utilities.batch",
    "aws_lambda_powertools.utilities.data_classes",
    "aws_xray_sdk",
    "boto3",
    "jsonschema_rs",
    "PIL",
)
_BATCHES = (
    "replicate_proxy.api.batches",
    "replicate_proxy.batches.model",
    "replicate_proxy.services.large_batches",
)
_NOT_LOADED = {
    "ingest": (*_NEVER, *_BATCHES, "requests", "replicate_proxy.jobs.updater"),
    "dispatch": (*_NEVER, "pydantic"),
    "query": (*_NEVER, *_BATCHES, "requests", "pydantic", "replicate_proxy.usage.report"),
    "webhook": (*_NEVER, "requests", "pydantic"),
    "authorize": (*_NEVER, "requests", "pydantic", "jwt", "replicate_proxy.jobs.model"),
    "track": (*_NEVER, "requests", "pydantic"),
    "deliver": (*_NEVER, "pydantic"),
    "notify": (*_NEVER, "requests", "pydantic"),
}


@pytest.mark.parametrize("function", _NOT_LOADED)
def test_handler_does_not_load_what_it_rarely_needs(function: str) -> None:
    script = "import sys; import app; print(*sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "functions" / function,
        capture_output=True,
        check=True,
        text=True,
    )

    assert "replicate_proxy" in finished.stdout.split()
    assert set(finished.stdout.split()).isdisjoint(_NOT_LOADED[function])
