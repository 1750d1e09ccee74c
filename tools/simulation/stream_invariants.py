"""What must hold for streams: a URL leads to the job's own stream, and the record is what was streamed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from replicate_proxy.contracts.stream_events import render_final_events
from replicate_proxy.contracts.stream_urls import parse_stream_query
from replicate_proxy.jobs.model import JobStatus, TimelineStep
from tools.simulation.functions.components import OUTPUTS_BASE_URL, STREAM_KEY
from tools.simulation.observation import observe_writes
from tools.simulation.replicate import RETENTION_SECONDS
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from tools.simulation.invariants import Invariants, Item, JobKey
    from tools.simulation.world import World

_LIVE_PATH = "/v1/streams/"
_END_DATA = {JobStatus.FAILED: {"reason": "error"}, JobStatus.CANCELED: {"reason": "canceled"}}


class StreamInvariants:
    """Watches the jobs of one world; reports to `invariants`."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        observe_writes(world.aws, self._check_write)
        invariants.at_rest.append(self._check_records)

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        if table != Table.JOBS or new is None:
            return
        if old is not None and _has_shown_text(old) and new.get("attempt") != old["attempt"]:
            self._invariants.report("shown text is not continued by another attempt", str(new["id"]))
        if "stream_url" not in new:
            return
        key: JobKey = (new["tenant"]["S"], new["id"]["S"])
        url = urlsplit(new["stream_url"]["S"])
        query = dict(parse_qsl(url.query))
        if (
            f"{url.scheme}://{url.netloc}" != OUTPUTS_BASE_URL
            or parse_stream_query(query, lambda: STREAM_KEY) != key
        ):
            self._invariants.report("a stream is its own job's", f"{key} has {url.path}?{url.query}")
        prediction_id = url.path.removeprefix(_LIVE_PATH)
        if url.path.startswith(_LIVE_PATH) and prediction_id != new.get("replicate_id", {}).get("S"):
            self._invariants.report("a stream is its own job's", f"{key} has the stream of {prediction_id}")

    def _check_records(self) -> None:
        for job in self._world.truth.read_stored_jobs():
            if job.is_terminal and job.stream_url:
                self._check_record(job)

    def _check_record(self, job: Job) -> None:
        """Compare the stored stream with the record, and with what Replicate streamed if it ended the job.

        A job has no output that the proxy ended after its cancel without a report, since the read failed, or
        whose prediction was read when Replicate had removed its data.
        """
        load = self._world.truth.load
        output = load(job.output)
        events = _parse(render_final_events(job, output=output, logs=load(job.logs)))
        text = "".join(data for name, data in events if name == "output")
        errors = [json.loads(data)["detail"] for name, data in events if name == "error"]
        if (
            text != "".join(output or [])
            or errors != ([job.error] if job.status is JobStatus.FAILED else [])
            or json.loads(events[-1][1]) != _END_DATA.get(job.status, {})
        ):
            self._invariants.report("the record is what was streamed", f"{job.tenant} {job.id}: {events}")
        prediction = self._world.replicate.predictions.get(job.replicate_id or "")
        # One that was found by likeness may have been created by version, which streams nothing.
        if prediction is None or not prediction.is_streamed:
            return
        # A job that lost its output ends in another way than its prediction.
        if {prediction.status} != {job.replicate_status, job.status.value}:
            return
        is_canceled = job.status is JobStatus.CANCELED and job.cancel_requested_at is not None
        finished_at = job.timeline[TimelineStep.FINISHED].timestamp()
        is_removed = finished_at - (prediction.ended or finished_at) > RETENTION_SECONDS
        if output is None and (is_canceled or is_removed):
            return
        if output != (prediction.body["output"] or None):
            detail = f"{job.tenant} {job.id} has {output}, streamed was {prediction.body['output']}"
            self._invariants.report("the record is what was streamed", detail)


def _parse(text: str) -> list[tuple[str, str]]:
    """Return name and data of each event."""
    events = []
    for block in text.split("\n\n")[:-1]:
        lines = [line.partition(": ") for line in block.split("\n")]
        data = "\n".join(value for name, _, value in lines if name == "data")
        events.append((lines[0][2], data))
    return events


def _has_shown_text(job: Item) -> bool:
    """Return whether a caller may have read text of an attempt that the proxy has not given up."""
    return "partial_output" in job and "abandoned_at" not in job
