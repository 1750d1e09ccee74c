"""Traces: the IDs of jobs and predictions are annotations, and the X-Ray SDK is loaded only when sampled."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from replicate_proxy.consumer import identify_job, log_message_outcome
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.observability import SampledTracer
from tests.support.builders import make_job
from tests.support.pipeline import Pipeline

# Runs a handler as Lambda does: without and with a sampled trace. Separate, as the SDK patches other modules.
_PROGRAM = """
import json, os, sys
from types import SimpleNamespace

from replicate_proxy.observability import tracer

@tracer.capture_lambda_handler
def lambda_handler(event, context):
    handle(event)

@tracer.capture_method
def handle(job_id):
    tracer.annotate(job_id=job_id, replicate_id="p1")

context = SimpleNamespace(function_name="track")
lambda_handler("not sampled", context)
loaded = "aws_xray_sdk" in sys.modules

from aws_xray_sdk.core import xray_recorder

sent = []
xray_recorder.configure(emitter=SimpleNamespace(send_entity=sent.append))
os.environ["_X_AMZN_TRACE_ID"] = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
lambda_handler("job-1", context)
segments = [json.loads(entity.serialize()) for entity in sent]
print(json.dumps({"loaded": loaded, "segments": segments}))
"""


@pytest.fixture
def annotated(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The annotations that are added, in order."""
    added: list[dict[str, str]] = []
    monkeypatch.setattr(SampledTracer, "annotate", lambda _, **values: added.append(values))
    return added


def test_sampled_invocation_has_annotations_and_others_do_not_load_sdk() -> None:
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={
            **os.environ,
            "LAMBDA_TASK_ROOT": "/var/task",
            "POWERTOOLS_TRACE_DISABLED": "false",
            "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    printed = json.loads(result.stdout)

    assert not printed["loaded"]
    found = [segment["annotations"] for segment in printed["segments"] if "annotations" in segment]
    assert {"job_id": "job-1", "replicate_id": "p1"} in found


def test_handling_of_message_is_annotated_with_its_job(annotated: list[dict[str, str]]) -> None:
    command = DispatchCommand.for_job(DispatchKind.SUBMIT, make_job(id="01kg9qjgp0ng6dewm7tv77d9xy"))

    with log_message_outcome("m-1", "1"):
        identify_job(command)

    assert annotated == [{"job_id": "01kg9qjgp0ng6dewm7tv77d9xy"}]


def test_every_step_of_a_prediction_is_annotated(annotated: list[dict[str, str]]) -> None:
    pipeline = Pipeline()
    job = pipeline.accept_job().job
    assert annotated.pop() == {"job_id": job.id}, "ingest"
    pipeline.drain_messages()
    assert annotated.pop() == {"replicate_id": "p1"}, "dispatch"
    pipeline.replicate.start("p1")
    pipeline.send_webhook("p1")
    assert annotated.pop() == {"job_id": job.id, "replicate_id": "p1"}, "webhook"
    pipeline.drain_messages()
    assert annotated.pop() == {"replicate_id": "p1"}, "track"
    pipeline.replicate.finish("p1")
    pipeline.send_webhook("p1")
    annotated.clear()
    pipeline.drain_messages()
    assert annotated == [{"replicate_id": "p1"}], "harvest"
