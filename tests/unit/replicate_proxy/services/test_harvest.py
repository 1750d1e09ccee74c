"""Harvesting jobs: leases, continuations, retries and the fallback."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.jobs.model import Document, EndReason, Job, JobStatus, ReportChannel
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.pipeline import Crash, Pipeline, crash_once_at

S = JobStatus
SOURCE_URLS = ["https://replicate.delivery/a.png", "https://replicate.delivery/b.png"]
STORED = FileRecord(
    (0,), FileOutcome.COMPRESSED, "https://outputs.test/a.webp", bytes_before=100, bytes_after=9
)
NOT_STORED = FileRecord((1,), FileOutcome.NOT_STORED, SOURCE_URLS[1], reason="timeout", retryable=True)
INCOMPLETE = HarvestResult(output=SOURCE_URLS, records=(STORED,), remaining=((1,),))
RETRYABLE = HarvestResult(output=[STORED.url, SOURCE_URLS[1]], records=(STORED, NOT_STORED))


def make_incomplete_result(files: int) -> HarvestResult:
    """Return a result with that many stored files, and one remaining."""
    records = tuple(
        FileRecord((index,), FileOutcome.STORED, f"https://outputs.test/{index}") for index in range(files)
    )
    return HarvestResult(output=SOURCE_URLS, records=records, remaining=((files,),))


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def make_succeeded_job(pipeline: Pipeline, **fields: Any) -> Job:
    """Return a job whose prediction has just succeeded; its event is not handled yet."""
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1", output=SOURCE_URLS, **fields)
    return job


def make_report(job: Job, **fields: Any) -> PredictionReport:
    defaults: dict[str, Any] = {
        "tenant": job.tenant,
        "job_id": job.id,
        "attempt": 1,
        "status": "succeeded",
        "channel": ReportChannel.WEBHOOK,
        "received_at": NOW,
    }
    return PredictionReport(**{**defaults, **fields})


def make_deadline(pipeline: Pipeline) -> datetime:
    return pipeline.clock.now() + timedelta(seconds=300)


def harvest(pipeline: Pipeline, job: Job) -> Job:
    """Handle the event of the job's prediction."""
    report = make_report(job, prediction=pipeline.replicate.predictions["p1"])
    return pipeline.harvester.harvest_job(report, make_deadline(pipeline))


def test_harvest_stores_output_and_finishes_job(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline, metrics={"predict_time": 1.5})
    finished = harvest(pipeline, job)
    assert finished.status is S.SUCCEEDED
    assert pipeline.documents.load(finished.output) == [f"https://outputs.test/{job.id}.webp"]
    assert finished.metrics == {"predict_time": 1.5}
    assert list(finished.timeline)[-3:] == ["reported", "harvesting", "finished"]


@pytest.mark.parametrize(
    "image_options", [{"accepts_avif": True}, {"format": "jpeg", "quality": 70, "accepts_avif": True}, {}]
)
def test_harvest_compresses_images_as_request_asked(
    pipeline: Pipeline, image_options: dict[str, Any]
) -> None:
    job = pipeline.accept_job(image_options=image_options).job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1", output=SOURCE_URLS)

    harvest(pipeline, job)

    assert pipeline.output_harvester.options == [ImageOptions(**image_options)]


def test_harvest_ignores_message_when_job_is_finished(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)
    finished = harvest(pipeline, job)
    assert harvest(pipeline, job) == finished
    assert len(pipeline.output_harvester.calls) == 1


def test_harvest_ignores_message_while_another_round_runs(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)
    harvester = pipeline.harvester
    jobs_after_second_message: list[Job] = []

    def handle_second_message(name: str) -> None:
        if name == "harvest.lease_acquired":
            report = make_report(job)
            jobs_after_second_message.append(harvester.harvest_job(report, make_deadline(pipeline)))

    pipeline.harvester = replace(harvester, checkpoint=handle_second_message)
    assert harvest(pipeline, job).status is S.SUCCEEDED
    assert [job.status for job in jobs_after_second_message] == [S.HARVESTING]
    assert len(pipeline.output_harvester.calls) == 1


@pytest.mark.parametrize("step", ["lease_acquired", "files_stored", "result_stored"])
def test_job_is_finished_when_harvester_crashed_at_checkpoint(step: str) -> None:
    pipeline = Pipeline(fault_occurs=crash_once_at(f"harvest.{step}"))
    job = make_succeeded_job(pipeline)
    with pytest.raises(Crash):
        harvest(pipeline, job)
    pipeline.pass_time(600)
    assert pipeline.get_job(job).status is S.SUCCEEDED


def test_harvest_continues_with_earlier_records_when_files_remain(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)
    pipeline.output_harvester.results = [INCOMPLETE]
    waiting = harvest(pipeline, job)
    assert (waiting.status, waiting.lease_until) == (S.HARVESTING, None)
    pipeline.drain_messages()
    assert pipeline.get_job(job).status is S.SUCCEEDED
    assert pipeline.output_harvester.calls == [(), (STORED,)]


def test_harvest_keeps_all_retries_when_rounds_make_progress(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)
    pipeline.output_harvester.results = [make_incomplete_result(files) for files in range(1, 7)] + [RETRYABLE]
    harvest(pipeline, job)
    pipeline.pass_time(120)
    assert pipeline.get_job(job).status is S.SUCCEEDED
    assert len(pipeline.output_harvester.calls) == 8


def test_harvest_delays_next_round_when_round_made_no_progress(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)
    pipeline.output_harvester.results = [INCOMPLETE] * 50
    harvest(pipeline, job)
    pipeline.drain_messages()
    assert len(pipeline.output_harvester.calls) == 2
    pipeline.pass_time(120)
    assert 3 <= len(pipeline.output_harvester.calls) <= 5


def test_harvest_delays_next_round_when_no_file_could_be_fetched(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)
    unfinished = HarvestResult(output=SOURCE_URLS, records=(NOT_STORED,), remaining=((0,),))
    pipeline.output_harvester.results = [unfinished] * 50
    harvest(pipeline, job)
    pipeline.drain_messages()
    assert pipeline.output_harvester.calls == [()]
    pipeline.pass_time(120)
    assert pipeline.output_harvester.calls == [(), *[(NOT_STORED,)] * 3]


def test_harvest_finishes_with_source_url_when_retries_are_used_up(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)
    pipeline.output_harvester.results = [RETRYABLE] * 10
    harvest(pipeline, job)
    pipeline.pass_time(300)
    finished = pipeline.get_job(job)
    assert finished.status is S.SUCCEEDED
    assert pipeline.documents.load(finished.output) == [STORED.url, SOURCE_URLS[1]]
    assert [record["outcome"] for record in pipeline.documents.load(finished.files)] == [
        "compressed",
        "not_stored",
    ]
    assert len(pipeline.output_harvester.calls) == 4


def test_harvest_is_retried_when_storage_fails(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)
    pipeline.output_harvester.faults.fail("harvest", times=3)
    harvest(pipeline, job)
    pipeline.pass_time(300)
    assert pipeline.get_job(job).status is S.SUCCEEDED


def test_harvest_finishes_with_source_urls_when_storage_keeps_failing(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)
    pipeline.output_harvester.faults.fail("harvest", times=10_000)
    harvest(pipeline, job)
    pipeline.pass_time(2 * 3600)
    finished = pipeline.get_job(job)
    assert finished.status is S.SUCCEEDED
    assert pipeline.documents.load(finished.output) == SOURCE_URLS


def test_harvest_keeps_files_of_a_round_that_ends_after_replicate_deleted_the_rest(
    pipeline: Pipeline,
) -> None:
    job = make_succeeded_job(pipeline)
    pipeline.output_harvester.results = [INCOMPLETE]

    def let_round_take_long(name: str) -> None:
        if name == "harvest.files_stored":
            pipeline.clock.advance(71 * 60)

    pipeline.harvester = replace(pipeline.harvester, checkpoint=let_round_take_long)
    finished = harvest(pipeline, job)
    assert (finished.status, finished.end_reason) == (S.SUCCEEDED, EndReason.HARVEST_GIVEN_UP)
    assert pipeline.documents.load(finished.output) == [STORED.url, SOURCE_URLS[1]]
    assert [
        (record["outcome"], record.get("reason")) for record in pipeline.documents.load(finished.files)
    ] == [("compressed", None), ("not_stored", "harvest_given_up")]


def test_given_up_harvest_does_not_repeat_content_of_data_uri_in_records(pipeline: Pipeline) -> None:
    uri = "data:image/png;base64," + "A" * 1000
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1", output=[uri])
    pipeline.output_harvester.faults.fail("harvest", times=10_000)
    harvest(pipeline, job)
    pipeline.pass_time(2 * 3600)
    finished = pipeline.get_job(job)
    assert pipeline.documents.load(finished.output) == [uri]
    assert [record["url"] for record in pipeline.documents.load(finished.files)] == ["data:image/png;base64,"]


def test_sweep_resumes_harvest_when_continuation_cannot_be_sent(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)
    pipeline.output_harvester.results = [INCOMPLETE]

    class FailingQueue:
        def send(self, *args: object, **kwargs: object) -> None:
            raise RetryableError("send failed")

    harvester, pipeline.harvester = pipeline.harvester, replace(pipeline.harvester, queue=FailingQueue())
    with pytest.raises(RetryableError):
        harvest(pipeline, job)
    pipeline.harvester = harvester
    pipeline.pass_time(300)
    assert pipeline.get_job(job).status is S.SUCCEEDED


def test_harvest_finishes_with_null_output_when_source_output_is_gone(pipeline: Pipeline) -> None:
    job = pipeline.store.put(
        make_job(S.HARVESTING, replicate_output=Document(object_key="records/gone.json"), completed_at=NOW)
    )
    finished = pipeline.harvester.harvest_job(make_report(job), make_deadline(pipeline))
    assert finished.status is S.SUCCEEDED
    assert pipeline.documents.load(finished.output) is None


def test_harvest_returns_job_when_it_was_finished_during_the_round(pipeline: Pipeline) -> None:
    job = make_succeeded_job(pipeline)

    def finish_job(name: str) -> None:
        if name == "harvest.files_stored":
            current = pipeline.get_job(job)
            pipeline.store.put(
                replace(current, status=S.SUCCEEDED, next_check_at=None, revision=current.revision + 1)
            )

    pipeline.harvester = replace(pipeline.harvester, checkpoint=finish_job)
    assert harvest(pipeline, job).status is S.SUCCEEDED


def test_harvest_ignores_continuation_when_job_is_not_harvesting(pipeline: Pipeline) -> None:
    job = pipeline.store.put(make_job(S.PROCESSING))
    assert pipeline.harvester.harvest_job(make_report(job), make_deadline(pipeline)) == job


def test_harvest_raises_when_job_does_not_exist(pipeline: Pipeline) -> None:
    with pytest.raises(NotFoundError):
        pipeline.harvester.harvest_job(make_report(make_job()), make_deadline(pipeline))


def test_late_report_does_not_overwrite_stored_documents(pipeline: Pipeline) -> None:
    """Logs and outputs too large for the item are objects, each with its own key."""
    job = make_succeeded_job(pipeline, logs="l" * 9000)
    finished = harvest(pipeline, job)
    before = dict(pipeline.documents.objects)
    late_prediction = {**pipeline.replicate.predictions["p1"], "status": "processing", "logs": "k" * 5000}
    pipeline.tracker.track_report(make_report(job, status="processing", prediction=late_prediction))
    assert pipeline.documents.load(pipeline.get_job(job).logs) == "l" * 9000
    assert {key: pipeline.documents.objects[key] for key in before} == before
    assert pipeline.get_job(job) == finished


class TestRepeatedHarvest:
    def make_given_up_job(self, pipeline: Pipeline) -> Job:
        """Return a job with one stored file, and one that is left at Replicate."""
        job = make_succeeded_job(pipeline)
        pipeline.output_harvester.results = [RETRYABLE] * 4
        harvest(pipeline, job)
        for _ in range(3):
            pipeline.clock.advance(300)
            pipeline.harvester.harvest_job(
                make_report(job, channel=ReportChannel.CONTINUATION), make_deadline(pipeline)
            )
        return pipeline.store.jobs[job.tenant, job.id]

    def repeat(self, pipeline: Pipeline, job: Job) -> Job:
        report = make_report(job, channel=ReportChannel.REPEATED_HARVEST)
        return pipeline.harvester.harvest_job(report, make_deadline(pipeline))

    def test_files_left_are_stored_and_the_status_stays(self, pipeline: Pipeline) -> None:
        job = self.make_given_up_job(pipeline)
        assert job.status is S.SUCCEEDED
        calls = len(pipeline.output_harvester.calls)
        stored = replace(
            NOT_STORED, outcome=FileOutcome.STORED, url="https://outputs.test/b", retryable=False
        )
        pipeline.output_harvester.results = [
            HarvestResult(output=[STORED.url, stored.url], records=(STORED, stored))
        ]

        repeated = self.repeat(pipeline, job)

        assert (repeated.status, repeated.lease_until) == (S.SUCCEEDED, None)
        assert repeated.end_reason is EndReason.HARVESTED
        assert pipeline.documents.load(repeated.output) == [STORED.url, stored.url]
        assert repeated.cost == job.cost
        assert pipeline.output_harvester.calls[calls] == (STORED,)
        # A second message finds nothing left.
        assert self.repeat(pipeline, job) == repeated
        assert len(pipeline.output_harvester.calls) == calls + 1

    def test_file_that_a_round_leaves_stays_as_it_was(self, pipeline: Pipeline) -> None:
        job = self.make_given_up_job(pipeline)
        pipeline.output_harvester.results = [INCOMPLETE]

        repeated = self.repeat(pipeline, job)

        assert pipeline.documents.load(repeated.files)[1] == replace(NOT_STORED, retryable=False).to_json()
        assert repeated.end_reason is job.end_reason

    def test_nothing_is_fetched_once_replicate_has_deleted_the_files(self, pipeline: Pipeline) -> None:
        job = self.make_given_up_job(pipeline)
        calls = len(pipeline.output_harvester.calls)
        pipeline.clock.advance(2 * 3600)

        assert self.repeat(pipeline, job) == job
        assert len(pipeline.output_harvester.calls) == calls

    def test_files_that_another_has_stored_just_before_the_lease_stay(self, pipeline: Pipeline) -> None:
        job = self.make_given_up_job(pipeline)
        stored = replace(
            NOT_STORED, outcome=FileOutcome.STORED, url="https://outputs.test/b", retryable=False
        )
        pipeline.output_harvester.results = [
            HarvestResult(output=[STORED.url, stored.url], records=(STORED, stored))
        ] * 2
        harvester = pipeline.harvester

        class OtherReadsFirst:
            """Lets another harvester run as a whole when the records of the files have been read."""

            def load(self, document: Document | None) -> Any:
                records = pipeline.documents.load(document)
                if pipeline.harvester is not harvester:
                    pipeline.harvester = harvester
                    TestRepeatedHarvest().repeat(pipeline, job)
                return records

            def save(self, *arguments: Any) -> Any:
                return pipeline.documents.save(*arguments)

        pipeline.harvester = replace(harvester, documents=OtherReadsFirst())
        self.repeat(pipeline, job)

        assert pipeline.output_harvester.results == []
        assert pipeline.output_harvester.calls[-1] == (STORED, stored)

    def test_second_harvester_does_nothing_during_the_first(self, pipeline: Pipeline) -> None:
        job = self.make_given_up_job(pipeline)
        pipeline.output_harvester.results = [RETRYABLE]
        harvester, statuses = pipeline.harvester, []

        def repeat_too(name: str) -> None:
            if name == "harvest.lease_acquired":
                pipeline.harvester = harvester
                statuses.append(self.repeat(pipeline, job).lease_until is not None)

        pipeline.harvester = replace(harvester, checkpoint=repeat_too)
        self.repeat(pipeline, job)

        assert statuses == [True]
        assert pipeline.output_harvester.results == []


def test_first_round_decides_for_all_rounds_whether_files_are_private(pipeline: Pipeline) -> None:
    settings = ["private/a/b/", ""]
    pipeline.harvester = replace(pipeline.harvester, choose_private_folder=lambda *_: settings.pop(0))
    pipeline.output_harvester.results = [INCOMPLETE]
    job = harvest(pipeline, make_succeeded_job(pipeline))
    assert (job.status, job.private_folder) == (S.HARVESTING, "private/a/b/")

    pipeline.pass_time(600)

    finished = pipeline.get_job(job)
    assert (finished.status, finished.private_folder) == (S.SUCCEEDED, "private/a/b/")
    assert pipeline.output_harvester.privacy == [True, True]
    assert settings == [""]


def test_harvest_that_polling_began_is_private_too(pipeline: Pipeline) -> None:
    pipeline.harvester = replace(pipeline.harvester, choose_private_folder=lambda *_: "private/a/b/")
    job = make_succeeded_job(pipeline)
    pipeline.pass_time(900)

    assert pipeline.get_job(job).private_folder == "private/a/b/"
    assert pipeline.output_harvester.privacy == [True]


def test_nothing_is_stored_while_it_is_unknown_whether_files_are_private(pipeline: Pipeline) -> None:
    def fail(_tenant: str, _job_id: str) -> str:
        raise RetryableError("no settings")

    known = pipeline.harvester
    pipeline.harvester = replace(known, choose_private_folder=fail)
    job = make_succeeded_job(pipeline)
    with pytest.raises(RetryableError):
        harvest(pipeline, job)
    assert pipeline.output_harvester.calls == []

    pipeline.harvester = known
    assert harvest(pipeline, job).private_folder == ""
