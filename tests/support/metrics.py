"""Metrics as the functions emit them: documents of CloudWatch's embedded metric format, one per line."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.observability import Metric, metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pytest


_START = '{"_aws"'
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric under one of its sets of dimensions, without `service`."""

    metric: str
    value: float
    dimensions: frozenset[tuple[str, str]]


class MetricsReader:
    """Reads the metrics that the code under test has emitted since the last call."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self._samples: list[Sample] = []

    def read(self) -> list[Sample]:
        """Return all samples so far."""
        if metrics.provider.metric_set:
            metrics.flush_metrics()
        self._samples += parse_samples(self._capsys.readouterr().out.splitlines())
        return self._samples

    def sum(self, metric: Metric, **dimensions: str) -> float:
        """Return the sum of the values with exactly these dimensions."""
        return sum(self.values(metric, **dimensions))

    def values(self, metric: Metric, **dimensions: str) -> list[float]:
        expected = frozenset(dimensions.items())
        return [
            sample.value
            for sample in self.read()
            if sample.metric == metric and sample.dimensions == expected
        ]

    def sum_by(self, metric: Metric, *names: str) -> dict[tuple[str, ...], float]:
        """Return the sums by the values of these dimensions."""
        sums: Counter[tuple[str, ...]] = Counter()
        for sample in self.read():
            values = dict(sample.dimensions)
            if sample.metric == metric and values.keys() == set(names):
                sums[tuple(values[name] for name in names)] += sample.value  # type: ignore[assignment] # floats
        return dict(sums)


def parse_samples(lines: Iterable[str]) -> Iterator[Sample]:
    """Yield the samples of the documents of the format; the rest of the lines is skipped.

    Threads and processes that write to one log at the same time can share a line of it.
    """
    for line in lines:
        start = line.find(_START)
        while start >= 0:
            document, end = _DECODER.raw_decode(line, start)
            yield from _parse_document(document)
            start = line.find(_START, end)


def _parse_document(document: Mapping[str, Any]) -> Iterator[Sample]:
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            dimensions = frozenset((name, document[name]) for name in names if name != "service")
            for definition in directive["Metrics"]:
                values = document[definition["Name"]]
                for value in values if isinstance(values, list) else [values]:
                    yield Sample(definition["Name"], value, dimensions)
