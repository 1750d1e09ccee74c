"""Every declared metric is recorded somewhere."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from replicate_proxy.observability import Metric

ROOT = Path(__file__).parents[3]


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
