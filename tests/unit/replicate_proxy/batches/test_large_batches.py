"""Large batches from their file to their results."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from replicate_proxy.batches import expander as expander_module
from replicate_proxy.batches.input_file import InputFile
from replicate_proxy.batches.model import MAX_LINE_BYTES, SLICE_LINES, BatchPhase
from replicate_proxy.batches.results import ResultReader
from replicate_proxy.contracts.commands import DispatchKind
from replicate_proxy.contracts.large_batches import build_large_batch_view
from replicate_proxy.errors import ApiError, ConflictError, RetryableError, UnconfirmedWriteError
from replicate_proxy.ids import derive_id, generate_id, is_id
from replicate_proxy.jobs.model import Batch, Cost, Document, JobStatus
from replicate_proxy.pauses.pause import Pause, PauseMode
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes
from replicate_proxy.services.batch_results import BatchResults
from tests.support.aws import JOBS_TABLE
from tests.support.batches import MODEL, TENANT, LargeBatches, make_line, make_lines
from tests.support.clock import NOW
from tests.support.schemas import IMAGE_PROPERTIES, make_schema


@pytest.fixture
def batches() -> LargeBatches:
    return LargeBatches()


def test_derived_ids_sort_by_number_after_the_time_of_the_batch() -> None:
    batch_id = generate_id(NOW)
    ids = [derive_id(batch_id, number) for number in (1, 2, 90, 91, 49_999, 50_000)]

    assert all(map(is_id, ids))
    assert all(first < second for first, second in pairwise(ids))
    assert {each[:10] for each in ids} == {batch_id[:10]}
    assert generate_id(NOW - timedelta(milliseconds=1)) < ids[0]
    assert ids[-1] < generate_id(NOW + timedelta(milliseconds=1))
    assert derive_id(batch_id, 1) == ids[0] != derive_id(generate_id(NOW), 1)


@pytest.mark.parametrize("is_written", [False, True])
def test_batch_whose_write_is_not_confirmed_is_accepted_only_if_it_is_stored(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch, *, is_written: bool
) -> None:
    file_id = batches.add_file(make_lines(1))
    create = batches.worker.store.create

    def lose_response(batch: Batch) -> Batch:
        if is_written:
            create(batch)
        raise RetryableError("no response")

    monkeypatch.setattr(batches.service._store, "create", lose_response)
    if is_written:
        batch = batches.create_from(file_id)
        assert batch.created_at == batches.get(batch).created_at
        batches.run()
        assert len(batches.list_jobs()) == 1
    else:
        with pytest.raises(UnconfirmedWriteError):
            batches.create_from(file_id)


@pytest.mark.parametrize("conflicts", [2, 50])
def test_cancel_is_repeated_while_the_worker_changes_the_batch(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch, conflicts: int
) -> None:
    batch = batches.create(make_lines(1))
    remaining = iter(range(conflicts))
    for method in ("hasten", "replace"):
        save = getattr(batches.service._store, method)

        def save_later(changed: Batch, save: Callable[[Batch], Batch] = save) -> Batch:
            if next(remaining, None) is not None:
                raise ConflictError("the batch has changed")
            return save(changed)

        monkeypatch.setattr(batches.service._store, method, save_later)

    if conflicts > 10:
        with pytest.raises(RetryableError, match="keeps changing"):
            batches.service.cancel(TENANT, batch.id)
    else:
        canceled = batches.service.cancel(TENANT, batch.id)
        assert canceled.large is not None
        assert canceled.large.cancel_requested_at is not None


def test_batch_of_several_slices_becomes_jobs_in_the_order_of_its_lines(batches: LargeBatches) -> None:
    count = 2 * SLICE_LINES + 20
    batch = batches.create(make_lines(count), image_options={"format": "avif"}, metadata={"order": "42"})

    assert batches.starter.count == 1
    batches.run()

    jobs = batches.list_jobs()
    assert [job.batch_line for job in jobs] == list(range(1, count + 1))
    assert [job.custom_id for job in jobs] == [f"line-{number}" for number in range(1, count + 1)]
    assert {
        (job.batch_id, job.model, job.image_options["format"], job.metadata["order"]) for job in jobs
    } == {(batch.id, MODEL, "avif", "42")}
    assert [job.id for job in jobs] == [command.job_id for command in batches.queue.commands]
    assert {(command.kind, command.is_batched) for command in batches.queue.commands} == {
        (DispatchKind.SUBMIT, True)
    }
    large = batches.get(batch).large
    assert large is not None
    assert (large.phase, large.slices, large.created) == (BatchPhase.RUNNING, 3, count)


def test_first_line_may_have_a_byte_order_mark(batches: LargeBatches) -> None:
    batches.create(BOM_UTF8 + make_lines(2))
    batches.run()
    assert [job.batch_line for job in batches.list_jobs()] == [1, 2]


def test_each_bad_line_is_a_result_with_its_reason_and_stops_no_other(batches: LargeBatches) -> None:
    batches.schemas.known[f"models/{MODEL}"] = make_schema(IMAGE_PROPERTIES)
    lines = [
        make_line(1),
        b"{not json\n",
        b"\n",
        make_line(4, color="red"),
        make_line(5, model=None),
        make_line(6, input={"prompt": "a cat", "width": "wide"}),
        make_line(7, custom_id=None),
        b"x" * (MAX_LINE_BYTES + 1) + b"\n",
        b"[]\n",
        b"\xff\n",
        make_line(11, custom_id="line-1"),
        make_line(12, webhook="ftp://app.test/"),
        make_line(13).rstrip(),
    ]
    batch = batches.create(b"".join(lines))
    batches.run()
    batches.end_jobs()
    batches.run()

    results = batches.read_results(batch)
    assert [result["line"] for result in results] == list(range(1, 14))
    rejected = {result["line"]: result for result in results if result["status"] == "rejected"}
    assert list(rejected) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 12]
    assert all(result["error"] and result["id"] is None for result in rejected.values())
    assert "longer than" in rejected[8]["error"]
    assert rejected[6]["invalid_fields"][0]["field"] == "input.width"
    assert (rejected[6]["custom_id"], rejected[7]["custom_id"]) == ("line-6", None)
    ended = [result for result in results if result["status"] == "succeeded"]
    assert [(result["line"], result["custom_id"]) for result in ended] == [
        (1, "line-1"),
        (11, "line-1"),
        (13, "line-13"),
    ]
    assert all(result["output"] == [f"https://outputs.test/{result['id']}"] for result in ended)
    assert {result["cost"]["usd"] for result in ended} == {"0.000040"}


def test_lines_over_the_budget_are_rejected_and_smaller_ones_reserve(batches: LargeBatches) -> None:
    batches.set_budget(jobs=SLICE_LINES + 3)
    batch = batches.create(make_lines(SLICE_LINES + 10))
    batches.run()

    jobs = batches.list_jobs()
    assert len(jobs) == SLICE_LINES + 3
    assert all(job.reservation for job in jobs)
    large = batches.get(batch).large
    assert large is not None
    assert (large.created, large.rejected) == (SLICE_LINES + 3, 7)
    batches.end_jobs()
    batches.run()
    last = batches.read_results(batch)[-1]
    assert last["status"] == "rejected"
    assert "daily budget of tenant acme has $0.000000" in last["error"]


def test_expansion_waits_while_creates_are_refused(batches: LargeBatches) -> None:
    batches.pauses.pauses[TENANT] = Pause(
        mode=PauseMode.REFUSE, reason="maintenance", since="2026-01-31T09:30:00.000Z"
    )
    batch = batches.create(make_lines(3))
    batches.run()
    assert batches.list_jobs() == []

    batches.pauses.pauses.clear()
    batches.run()
    assert len(batches.list_jobs()) == 3
    assert batches.get(batch).large.rejected == 0  # type: ignore[union-attr] # it is a large one


def test_lines_beyond_the_limit_are_reported(batches: LargeBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expander_module, "MAX_LINES", 100)
    batch = batches.create(make_lines(130))
    batches.run()

    large = batches.get(batch).large
    assert large is not None
    assert (large.lines, len(batches.list_jobs())) == (100, 100)
    assert "more than" in (large.error or "")


def test_batch_whose_file_is_deleted_ends_with_the_lines_so_far(batches: LargeBatches) -> None:
    batch = batches.create(make_lines(10))
    batches.objects.objects.clear()
    batches.run()
    batches.run()

    large = batches.get(batch).large
    assert large is not None
    assert large.is_completed
    assert "deleted" in (large.error or "")
    assert batches.read_results(batch) == []


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_batch_whose_file_is_replaced_by_a_shorter_one_ends(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    monkeypatch.setattr(expander_module, "SLICE_LINES", 1)
    file_id = batches.add_file(make_lines(3))
    batch = batches.create_from(file_id)
    # By the form of its upload, which is valid for some minutes.
    batches.objects.put(batches.files[file_id].object_key, make_lines(lines))
    for _ in range(2):
        batches.run()
        batches.end_jobs()
    large = batches.get(batch).large
    assert large is not None
    assert (large.is_completed, large.lines) == (True, lines)
    assert "replaced" in (large.error or "")


def test_file_is_read_by_ranges_whatever_its_size() -> None:
    content = make_lines(50) + b"y" * 5000 + b"\n" + make_line(52) + b"\r\n" + b"last"
    reads: list[int] = []

    def read(position: int, length: int) -> bytes:
        reads.append(length)
        return content[position : position + length]

    file, position, lines = InputFile(read, len(content), range_bytes=1000), 0, []
    while found := file.read_lines(position, 7):
        lines += found
        position = found[-1].end
    texts = [line.text for line in lines]
    assert texts == [*make_lines(50).splitlines(), None, make_line(52).strip(), b"", b"last"]
    assert set(reads) == {1000}


def test_create_refuses_files_that_cannot_be_used(batches: LargeBatches) -> None:
    foreign = batches.add_file(make_lines(1), tenant="globex")
    for file_id in (foreign, generate_id(NOW), "x", batches.add_file(b"")):
        with pytest.raises(ApiError) as refusal:
            batches.create_from(file_id)
        assert (refusal.value.status, refusal.value.invalid_fields[0].field) == (422, "input_file")


def test_idempotency_key_creates_one_batch(batches: LargeBatches) -> None:
    file_id = batches.add_file(make_lines(2))
    first = batches.create_from(file_id, idempotency_key="k")
    batches.files.clear()
    assert batches.create_from(file_id, idempotency_key="k").id == first.id
    with pytest.raises(ApiError) as conflict:
        batches.create(make_lines(1), idempotency_key="k")
    assert conflict.value.status == 409


def test_counts_and_progress_are_exact_at_each_stage(batches: LargeBatches) -> None:
    batch = batches.create(make_lines(10) + b"bad\n", webhook="https://app.test/hook")

    def view() -> dict[str, object]:
        stored = batches.get(batch)
        assert stored.large is not None
        counts = batches.counts.read_counts(TENANT, batch.id)
        return build_large_batch_view(stored, stored.large, counts, batches.clock.now())

    assert (view()["status"], view()["total"], view()["total_is_estimated"]) == ("processing", 0, True)
    batches.run()
    assert view()["counts"] == {
        "unfinished": 10,
        "succeeded": 0,
        "failed": 0,
        "canceled": 0,
        "rejected": 1,
    }
    batches.end_jobs(JobStatus.FAILED)
    # The stream repeats what it has delivered.
    batches.end_jobs(JobStatus.FAILED)
    assert view()["counts"] == {
        "unfinished": 0,
        "succeeded": 0,
        "failed": 10,
        "canceled": 0,
        "rejected": 1,
    }
    batches.run()
    assert (view()["status"], view()["total"]) == ("completed", 11)
    assert "completed_at" in view()


def test_one_webhook_is_sent_when_the_batch_is_completed(batches: LargeBatches) -> None:
    batch = batches.create(make_lines(2), webhook="https://app.test/hook")
    batches.run()
    batches.end_jobs()
    batches.run()
    batches.run()

    [delivery] = batches.deliveries.list_all()
    assert (delivery.kind, delivery.url) == ("batch.completed", "https://app.test/hook")
    [event] = batches.deliveries.list_all_events()
    body = json.loads(json.loads(event.body.text or ""))
    assert (body["id"], body["status"], body["counts"]["succeeded"]) == (batch.id, "completed", 2)
    assert body["proxy"] == {"event": "batch.completed", "sequence": 1}


def test_cancel_ends_jobs_and_lines_that_are_left(batches: LargeBatches) -> None:
    batch = batches.create(make_lines(2 * SLICE_LINES))
    large = batches.get(batch).large
    assert large is not None
    # One slice is expanded when the cancel comes.
    _, sent = batches.worker.expander.expand_slice(batch, large)
    assert len(sent) == SLICE_LINES
    canceled = batches.service.cancel(TENANT, batch.id)
    assert canceled.large is not None
    assert canceled.large.cancel_requested_at == batches.clock.now()
    assert batches.service.cancel(TENANT, batch.id).revision == canceled.revision

    batches.run()
    jobs = batches.list_jobs()
    assert len(jobs) == SLICE_LINES
    assert {job.status for job in jobs} == {JobStatus.CANCELED}
    batches.end_jobs()
    batches.run()
    results = batches.read_results(batch)
    assert [result["line"] for result in results] == list(range(1, 2 * SLICE_LINES + 1))
    assert {result["status"] for result in results} == {"canceled"}
    assert {result["custom_id"] for result in results} == {
        f"line-{number}" for number in range(1, 2 * SLICE_LINES + 1)
    }


def test_expired_batch_is_removed_without_a_trace(batches: LargeBatches) -> None:
    batch = batches.create(make_lines(3), retention_seconds=3600, idempotency_key="k")
    batches.run()
    batches.end_jobs()
    batches.run()
    prefix = f"batches/{TENANT}/{batch.id}/"
    assert any(key.startswith(prefix) for key in batches.objects.objects)
    # A large event is stored as those of jobs are.
    names = (batch.id, batches.list_jobs()[0].id)
    event, of_job = (f"records/{TENANT}/{name}/event-1.json" for name in names)
    batches.objects.put(event, b"{}")
    batches.objects.put(of_job, b"{}")

    batches.clock.advance(minutes=50)
    batches.run()
    assert batches.get(batch).id == batch.id
    batches.clock.advance(minutes=10)
    assert batches.store.has_due(batches.clock.now())
    batches.run()

    assert batches.store.get(TENANT, batch.id) is None
    assert not any(key.startswith(prefix) for key in batches.objects.objects)
    assert event not in batches.objects.objects
    assert of_job in batches.objects.objects
    assert batches.counts.read_counts(TENANT, batch.id).ended == 0
    assert not batches.store.has_due(batches.clock.now() + timedelta(days=100))
    rows = batches.aws.client("dynamodb").scan(TableName=JOBS_TABLE, ConsistentRead=True)["Items"]
    assert batch.id not in json.dumps([row for row in rows if not row["pk"]["S"].startswith("JOB#")])


def test_idempotency_key_of_a_removed_batch_creates_no_other_for_a_day(batches: LargeBatches) -> None:
    file_id = batches.add_file(make_lines(1))
    batch = batches.create_from(file_id, retention_seconds=3600, idempotency_key="k")
    batches.run()
    batches.end_jobs()
    batches.run()
    batches.clock.advance(minutes=61)
    batches.run()
    assert batches.store.get(TENANT, batch.id) is None

    for hours in (0, 22):
        batches.clock.advance(hours=hours)
        with pytest.raises(ApiError) as deleted:
            batches.create_from(file_id, retention_seconds=3600, idempotency_key="k")
        assert (deleted.value.status, deleted.value.title) == (410, "Batch deleted")
    batches.clock.advance(hours=1)
    assert batches.create_from(file_id, idempotency_key="k").id != batch.id


def test_batch_that_runs_for_longer_than_it_is_kept_is_removed_after_its_webhook(
    batches: LargeBatches,
) -> None:
    batch = batches.create(make_lines(2), retention_seconds=3600, webhook="https://app.test/hook")
    batches.run()
    batches.clock.advance(minutes=90)
    batches.end_jobs()
    batches.run()
    assert batches.get(batch).large.is_completed  # type: ignore[union-attr] # it is a large one
    assert batches.deliveries.list_all()

    batches.clock.advance(minutes=13)
    batches.run()
    assert batches.read_results(batch)
    batches.clock.advance(minutes=2)
    batches.run()
    assert batches.store.get(TENANT, batch.id) is None


def test_pages_show_lines_while_the_batch_runs_and_a_signed_url_at_its_end(batches: LargeBatches) -> None:
    results = BatchResults(ResultReader(batches.objects, batches.jobs, batches.documents), batches.objects)
    batch = batches.create(make_lines(SLICE_LINES + 5))
    page = results.read_page(batches.get(batch), 0)
    assert (page.text, page.next_slice) == ("", 0)

    batches.run()
    running = batches.get(batch)
    assert results.create_file_url(running) is None
    first, second = results.read_page(running, 0), results.read_page(running, 1)
    assert (first.next_slice, second.next_slice) == (1, None)
    views = [json.loads(line) for line in (first.text + second.text).splitlines()]
    assert [view["line"] for view in views] == list(range(1, SLICE_LINES + 6))
    assert {view["status"] for view in views} == {"starting"}

    batches.end_jobs()
    batches.run()
    url = results.create_file_url(batches.get(batch))
    assert url is not None
    assert f"batches/{TENANT}/{batch.id}/results.jsonl" in url


@pytest.mark.parametrize("character", ["x", '"', "│", "\u0001"])
def test_page_with_long_outputs_and_errors_fits_into_a_response(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch, character: str
) -> None:
    results = BatchResults(ResultReader(batches.objects, batches.jobs, batches.documents), batches.objects)
    batch = batches.create(make_lines(SLICE_LINES))
    batches.run()
    views = [{"line": line, "output": "x" * 240_000, "error": None} for line in range(25)]
    views += [{"line": line, "output": None, "error": character * 4000} for line in range(25, SLICE_LINES)]
    monkeypatch.setattr(results, "read_views", lambda _batch, _number: views)

    page = results.read_page(batches.get(batch), 0)

    lines = [json.loads(line) for line in page.text.splitlines()]
    assert [(line["line"], line["error"]) for line in lines] == [
        (view["line"], view["error"]) for view in views
    ]
    assert calculate_sent_bytes(page.text) <= MAX_RESPONSE_BYTES
    has_output = [line["output"] is not None for line in lines]
    assert sum(has_output) >= 15
    assert all(line.get("omitted") == ["output"] for line in lines[:25] if line["output"] is None)
    assert not any("omitted" in line for line in lines[25:])


def test_results_are_lines_of_utf8_whatever_is_in_them(batches: LargeBatches) -> None:
    """Half of a surrogate pair has no UTF-8; the others end a line for `str.splitlines`, which httpx uses."""
    texts = ["half of a pair: \ud83d", "a\u2028b\u2029c\x85d", "déjà vu 🐈"]
    batch = batches.create(make_lines(len(texts)))
    batches.run()
    for job, text in zip(batches.list_jobs(), texts, strict=True):
        batches.jobs.save(
            replace(
                job,
                status=JobStatus.SUCCEEDED,
                output=Document(text=json.dumps(text)),
                cost=Cost(micro_usd=1),
                next_check_at=None,
            )
        )
    batches.end_jobs()
    results = BatchResults(ResultReader(batches.objects, batches.jobs, batches.documents), batches.objects)
    page = results.read_page(batches.get(batch), 0).text
    batches.run()

    file = batches.objects.read(f"batches/{TENANT}/{batch.id}/results.jsonl").decode()
    assert page.encode().decode() == file
    assert [json.loads(line)["output"] for line in file.splitlines()] == texts
    assert "déjà vu 🐈" in file


def test_line_whose_job_was_deleted_is_a_result(batches: LargeBatches) -> None:
    batch = batches.create(make_lines(2))
    batches.run()
    batches.end_jobs()
    job = batches.list_jobs()[0]
    batches.aws.client("dynamodb").delete_item(
        TableName="jobs", Key={"pk": {"S": f"JOB#{TENANT}#{job.id}"}, "sk": {"S": "JOB"}}
    )
    batches.run()
    assert [result["status"] for result in batches.read_results(batch)] == ["deleted", "succeeded"]


def test_failure_of_one_batch_does_not_stop_another(batches: LargeBatches) -> None:
    broken, batch = batches.create(make_lines(1)), batches.create(make_lines(2))
    large = batches.get(broken).large
    assert large is not None
    batches.objects.objects[large.object_key] = None  # type: ignore[assignment] # an object that is gone
    batches.run()
    assert {job.batch_id for job in batches.list_jobs()} == {batch.id}
