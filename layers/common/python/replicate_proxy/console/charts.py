"""The geometry of the charts, which the templates draw as SVG. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.jobs.model import TimelineStep
from replicate_proxy.webhooks.model import DeliveryStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.webhooks.model import Delivery

_CHART_HEIGHT = 100.0
_MIN_BAR_HEIGHT = 2.0
_MIN_SPAN_PERCENT = 0.6
_FULL_PERCENT = 100.0
_MIN_TOTAL_SECONDS = 0.001
# Retries of webhooks may take days: the drawing ends a little after the job does.
_DELIVERY_MARGIN = 1.15
_DELIVERY_KINDS = frozenset({"delivery", "failed"})

_STARTING_AND_RUNNING = "starting and running at Replicate"
# What happens from a step to the next one that the timeline has.
_HOPS = {
    TimelineStep.ACCEPTED: "in our queue",
    TimelineStep.CLAIMED: "create request",
    TimelineStep.SUBMITTED: "starting at Replicate",
    TimelineStep.STARTED: "running at Replicate",
    TimelineStep.REPORTED: "waiting for the harvest",
    TimelineStep.HARVESTING: "storing files",
}
_AFTER_START = frozenset({TimelineStep.REPORTED, TimelineStep.HARVESTING, TimelineStep.FINISHED})


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart: its label, its value as text, and its place in percent of the chart."""

    label: str
    value: str
    x: float
    width: float
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars side by side; `maximum` is the text of the highest value."""

    bars: tuple[Bar, ...]
    maximum: str
    first_label: str
    last_label: str
    is_empty: bool


@dataclass(frozen=True, slots=True)
class Hop:
    """A part of a job's time: where it begins, in percent of the whole, how long it takes, and its state."""

    label: str
    started_at: datetime
    seconds: float
    x: float
    width: float
    kind: str
    is_running: bool = False


def build_chart(
    values: Sequence[tuple[str, float, str]], format_maximum: Callable[[float], str] | None = None
) -> Chart:
    """Return the chart of labels, values and their texts.

    `format_maximum` is for texts that say more than the value.
    """
    highest = max((value for _, value, _ in values), default=0)
    step = _FULL_PERCENT / max(len(values), 1)
    bars = []
    for index, (label, value, text) in enumerate(values):
        height = max(_CHART_HEIGHT * value / highest, _MIN_BAR_HEIGHT) if value and highest else 0.0
        bars.append(
            Bar(
                label,
                text,
                round(index * step + step * 0.1, 3),
                round(step * 0.8, 3),
                round(_CHART_HEIGHT - height, 2),
                round(height, 2),
            )
        )
    texts = {value: text for _, value, text in values}
    return Chart(
        tuple(bars),
        format_maximum(highest) if format_maximum else texts.get(highest, ""),
        values[0][0] if values else "",
        values[-1][0] if values else "",
        not highest,
    )


def build_waterfall(job: Job, deliveries: Sequence[Delivery], now: datetime) -> tuple[Hop, ...]:
    """Return the hops of the job's last attempt and its deliveries, in the order in which they began."""
    spans = [*_list_spans(job, now), *_list_deliveries(deliveries, now)]
    spans.sort(key=lambda span: span[1])
    start = min((span[1] for span in spans), default=job.created_at)
    end = max((span[2] for span in spans if span[3] not in _DELIVERY_KINDS), default=job.created_at)
    total = max((end - start) / timedelta(seconds=1), _MIN_TOTAL_SECONDS) * _DELIVERY_MARGIN
    return tuple(_build_hop(span, start, total) for span in spans)


type _Span = tuple[str, datetime, datetime, str, bool]


def _list_spans(job: Job, now: datetime) -> list[_Span]:
    timeline = _add_start(job)
    times = [(step, timeline[step]) for step in TimelineStep if step in timeline]
    if not times:
        return []
    spans: list[_Span] = []
    for index, (step, began) in enumerate(times):
        if step not in _HOPS:
            continue
        is_last = index + 1 == len(times)
        ended = now if is_last else max(times[index + 1][1], began)
        label = _HOPS[step]
        if step is TimelineStep.SUBMITTED and TimelineStep.STARTED not in timeline:
            label = _STARTING_AND_RUNNING
        spans.append((label, began, ended, step.value, is_last and not job.is_terminal))
    return spans


def _add_start(job: Job) -> Mapping[TimelineStep, datetime]:
    """Return the timeline with the start that the report of the end has.

    The start itself is reported only where a webhook asks for it. The time is of Replicate's clock: it is
    kept between those of ours.
    """
    timeline = job.timeline
    submitted_at = timeline.get(TimelineStep.SUBMITTED)
    if job.started_at is None or submitted_at is None or TimelineStep.STARTED in timeline:
        return timeline
    later = [at for step, at in timeline.items() if step in _AFTER_START]
    started_at = max(min([job.started_at, *later]), submitted_at)
    return {**timeline, TimelineStep.STARTED: started_at}


def _list_deliveries(deliveries: Sequence[Delivery], now: datetime) -> list[_Span]:
    """Return a span for each event: from its creation until all of its targets have it."""
    events: dict[int, list[Delivery]] = {}
    for delivery in deliveries:
        events.setdefault(delivery.sequence, []).append(delivery)
    spans: list[_Span] = []
    for same in events.values():
        is_pending = any(delivery.is_pending for delivery in same)
        has_failed = any(delivery.status is DeliveryStatus.FAILED for delivery in same)
        ended = now if is_pending else max(delivery.finished_at or now for delivery in same)
        label = f"webhook {same[0].kind.value}" + (f" to {len(same)} targets" if len(same) > 1 else "")
        kind = "failed" if has_failed else "delivery"
        spans.append((label, min(delivery.created_at for delivery in same), ended, kind, is_pending))
    return spans


def _build_hop(span: _Span, start: datetime, total: float) -> Hop:
    label, began, ended, kind, is_running = span
    seconds = max((ended - began) / timedelta(seconds=1), 0.0)
    x = min(
        max(began - start, timedelta()) / timedelta(seconds=1) / total * _FULL_PERCENT,
        _FULL_PERCENT - _MIN_SPAN_PERCENT,
    )
    width = max(min(seconds / total * _FULL_PERCENT, _FULL_PERCENT - x), _MIN_SPAN_PERCENT)
    return Hop(label, began, seconds, round(x, 3), round(width, 3), kind, is_running)
