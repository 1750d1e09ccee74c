"""Metrics: each is recorded somewhere, in total and by its dimensions, by any number of threads."""

from __future__ import annotations

import ast
import io
import json
import threading
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from replicate_proxy.observability import CompactLogFormatter, Metric, count, measure_seconds
from tests.support.handlers import LambdaContext
from tests.support.metrics import MetricsReader

ROOT = Path(__file__).parents[3]


@cache
def find_recorded_metrics() -> set[str]:
    """Return the members of Metric that other modules name."""
    return {
        node.attr
        for directory in ("layers/common/python/replicate_proxy", "functions")
        for path in (ROOT / directory).rglob("*.py")
        if path.name != "observability.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Metric"
    }


@pytest.mark.parametrize("metric", Metric)
def test_metric_is_recorded(metric: Metric) -> None:
    assert metric.name in find_recorded_metrics()


def test_metric_with_dimensions_is_emitted_in_total_and_for_their_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    count(Metric.JOB_FAILED, reason="rejected")

    document = json.loads(capsys.readouterr().out)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "ReplicateProxy"
    assert directive["Dimensions"] == [["service"], ["service", "reason"]]
    assert (document["service"], document["reason"]) == ("replicate-proxy", "rejected")
    assert document["JobFailed"] == [1.0]


def test_log_line_has_no_keys_that_are_the_same_in_all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    logger = Logger(
        service="test", level="INFO", stream=stream, logger_formatter=CompactLogFormatter(utc=True)
    )

    @logger.inject_lambda_context(clear_state=True)
    def handler(event: dict[str, Any], context: LambdaContext) -> None:
        logger.info("handled", job_id="job1")

    monkeypatch.delenv("_X_AMZN_TRACE_ID", raising=False)
    handler({}, LambdaContext())
    handler({}, LambdaContext())
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2;Sampled=1")
    handler({}, LambdaContext())

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    usual = {"level", "location", "message", "timestamp", "function_request_id", "job_id"}
    assert set(lines[1]) == usual
    assert set(lines[2]) == usual | {"xray_trace_id"}
    assert set(lines[0]) - usual <= {"cold_start"}


def test_count_of_several_threads_loses_nothing(emitted: MetricsReader) -> None:
    barrier = threading.Barrier(8)

    def count_often() -> None:
        barrier.wait()
        for _ in range(250):
            count(Metric.JOB_FAILED)

    threads = [threading.Thread(target=count_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert emitted.sum(Metric.JOB_FAILED) == 2000


def test_duration_is_recorded_when_block_raises(emitted: MetricsReader) -> None:
    with pytest.raises(ValueError, match="failed"), measure_seconds(Metric.API_SECONDS, route="GET /"):
        raise ValueError("failed")

    assert len(emitted.values(Metric.API_SECONDS, route="GET /")) == 1
