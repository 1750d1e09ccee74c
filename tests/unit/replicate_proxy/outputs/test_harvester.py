"""Harvesting whole outputs, with fakes of fetcher, bucket and image compressor."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.task import CompressionDeferredError, ImageOutcome, ImageResult
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.observability import Metric
from replicate_proxy.outputs.fetch import FetchDeferredError, PermanentFetchError, TransientFetchError
from replicate_proxy.outputs.file_harvester import FileHarvester
from replicate_proxy.outputs.harvester import ParallelOutputHarvester
from replicate_proxy.outputs.records import FileRecord, HarvestResult
from replicate_proxy.outputs.settings import HarvestSettings
from replicate_proxy.outputs.storage import OutputFileStore, build_private_folder
from tests.support.clock import NOW, FakeClock
from tests.support.harvest import FakeBlobStore, FakeFileFetcher, FakeImageCompressor
from tests.support.metrics import MetricsReader

BASE_URL = "https://cdn.example"
PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 100
MP4 = b"\0\0\0\x18ftypisom" + b"v" * 50
HTML = b"<html><script>alert(1)</script>"


class Harvest:
    """A harvester of outputs with fakes; `recorded` are the records passed to `on_file_harvested`."""

    def __init__(
        self,
        files: Mapping[str, bytes | Exception],
        *,
        settings: HarvestSettings | None = None,
        image_result: ImageResult | None = None,
    ) -> None:
        self.settings = settings or HarvestSettings()
        self.blobs, self.fetcher, self.clock = FakeBlobStore(), FakeFileFetcher(files), FakeClock()
        self.recorded: list[FileRecord] = []
        self.harvester = ParallelOutputHarvester(
            file_harvester=FileHarvester(
                fetcher=self.fetcher,
                store=OutputFileStore(self.blobs, base_url=BASE_URL + "/", secret=b"k" * 32),
                compressor=FakeImageCompressor(image_result),
                settings=self.settings,
            ),
            settings=self.settings,
            clock=self.clock,
            on_file_harvested=self.recorded.append,
        )

    def run(
        self,
        output: Any,
        *,
        earlier_records: tuple[FileRecord, ...] = (),
        seconds: float = 300,
        is_private: bool = False,
    ) -> HarvestResult:
        return self.harvester.harvest(
            tenant="acme",
            job_id="job1",
            output=output,
            options=ImageOptions(),
            deadline=NOW + timedelta(seconds=seconds),
            earlier_records=earlier_records,
            is_private=is_private,
        )

    def get_object(self, url: str) -> tuple[bytes, dict[str, Any]]:
        """Return content and headers of the object that the URL serves."""
        key = url.removeprefix(BASE_URL + "/")
        return self.blobs.objects[key], self.blobs.headers[key]


class SlowImageCompressor(FakeImageCompressor):
    """A single worker that each image takes for some seconds, but no longer than the deadline allows."""

    def __init__(self, clock: FakeClock, *, seconds: float) -> None:
        super().__init__()
        self._clock, self._seconds, self._worker = clock, seconds, threading.Lock()

    def compress(
        self, source: Path, output: Path, thumbnail: Path, options: ImageOptions, deadline: Deadline
    ) -> ImageResult:
        with self._worker:
            self._clock.advance(min(self._seconds, deadline.remaining_seconds))
            if deadline.has_passed:
                raise CompressionDeferredError("not done in time")
            return super().compress(source, output, thumbnail, options, deadline)


def make_url(name: str) -> str:
    return f"https://replicate.delivery/pbxt/{name}"


def test_harvest_replaces_urls_and_keeps_shape_of_output() -> None:
    harvest = Harvest({make_url("a/out.png"): PNG, make_url("b/out.png"): PNG, make_url("film.mp4"): MP4})
    output = {
        "images": [make_url("a/out.png"), make_url("b/out.png")],
        "film": make_url("film.mp4"),
        "n": 2,
        "t": "hi",
        "x": None,
    }

    result = harvest.run(output)

    assert result.is_complete
    assert list(result.output) == list(output)
    assert (result.output["n"], result.output["t"], result.output["x"]) == (2, "hi", None)
    urls = [*result.output["images"], result.output["film"]]
    assert len(set(urls)) == 3
    assert all(url.startswith(BASE_URL + "/outputs/") for url in urls)
    assert [record.outcome for record in result.records] == ["compressed", "compressed", "stored"]


def test_compressed_image_has_full_record_and_headers(emitted: MetricsReader) -> None:
    harvest = Harvest({make_url("out.png"): PNG})

    (record,) = harvest.run([make_url("out.png")]).records

    assert harvest.fetcher.copies == [len(PNG)]
    body, headers = harvest.get_object(record.url)
    assert body.startswith(b"small")
    assert headers["content_type"] == "image/webp"
    assert headers["content_disposition"] == 'inline; filename="out.webp"'
    assert headers["cache_control"] == "public, max-age=31536000, immutable"
    assert headers["sha256"] == record.sha256
    assert (record.width, record.height) == (4, 3)
    assert (record.bytes_before, record.bytes_after) == (len(PNG), len(body))
    assert (record.kind, record.format, record.source_host) == ("image", "webp", "replicate.delivery")
    assert record.text == {"seed": "42"}
    assert record.placeholder
    assert harvest.get_object(record.thumbnail_url or "")[0] == b"thumb"
    assert harvest.blobs.objects[record.original_key or ""] == PNG
    assert harvest.blobs.headers[record.original_key or ""]["content_disposition"].startswith("attachment")
    assert len(emitted.values(Metric.IMAGE_SECONDS)) == 1


def test_private_files_and_thumbnails_are_in_the_private_folder() -> None:
    harvest = Harvest({make_url("out.png"): PNG, make_url("film.mp4"): MP4})

    image, film = harvest.run([make_url("out.png"), make_url("film.mp4")], is_private=True).records

    folder = f"{BASE_URL}/{build_private_folder(b'k' * 32, 'acme', 'job1')}"
    urls = [image.url, image.thumbnail_url or "", film.url]
    assert all(url.startswith(folder) for url in urls)
    assert len(set(urls)) == 3
    assert {harvest.get_object(url)[1]["cache_control"] for url in urls} == {
        "private, max-age=3600, immutable"
    }
    assert (image.original_key or "").startswith("originals/")
    assert not any(key.startswith(("outputs/", "thumbs/")) for key in harvest.blobs.objects)


def test_large_output_of_a_private_job_is_a_private_file() -> None:
    harvest = Harvest({})

    result = harvest.run("x" * 5_000_000, is_private=True)

    assert result.output.startswith(f"{BASE_URL}/private/")


def test_original_is_not_stored_when_disabled() -> None:
    harvest = Harvest({make_url("out.png"): PNG}, settings=HarvestSettings(keep_originals=False))

    (record,) = harvest.run(make_url("out.png")).records

    assert record.original_key is None
    assert not any(key.startswith("originals/") for key in harvest.blobs.objects)


def test_unmodified_image_is_stored_once() -> None:
    image_result = ImageResult(
        ImageOutcome.UNMODIFIED,
        "not_smaller",
        format="png",
        width=9,
        height=9,
        thumbnail_bytes=3,
        is_source_publishable=True,
    )
    harvest = Harvest({make_url("out.png"): PNG}, image_result=image_result)

    (record,) = harvest.run(make_url("out.png")).records

    assert (record.outcome, record.reason, record.format) == ("unmodified", "not_smaller", "png")
    assert harvest.get_object(record.url)[0] == PNG
    assert not any(key.startswith("originals/") for key in harvest.blobs.objects)


@pytest.mark.parametrize(
    ("format_name", "head"),
    [
        ("jpeg", b"\xff\xd8\xff"),
        ("png", PNG),
        ("webp", b"RIFF\x40\0\0\0WEBPVP8 "),
        ("gif", b"GIF89a"),
        ("avif", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf"),
    ],
)
def test_unmodified_image_is_served_without_its_metadata(format_name: str, head: bytes) -> None:
    image_result = ImageResult(
        ImageOutcome.UNMODIFIED, "not_smaller", format=format_name, bytes_after=7, sha256="ab" * 32
    )
    harvest = Harvest({make_url("out"): head + b"j" * 50}, image_result=image_result)

    (record,) = harvest.run(make_url("out")).records

    body, headers = harvest.get_object(record.url)
    assert body == b"ooooooo"
    assert headers["content_type"] == f"image/{format_name}"
    assert (record.outcome, record.bytes_after) == ("unmodified", 7)


@pytest.mark.parametrize(
    "image_result",
    [
        ImageResult(ImageOutcome.UNMODIFIED, "not_smaller", format="jpeg", is_source_publishable=True),
        ImageResult(ImageOutcome.UNMODIFIED, "too_many_pixels", sha256="ab" * 32),
        ImageResult(ImageOutcome.UNREADABLE, "broken", is_source_publishable=True),
    ],
)
def test_record_of_jpeg_names_the_format_as_if_it_were_compressed(image_result: ImageResult) -> None:
    harvest = Harvest({make_url("out.jpg"): b"\xff\xd8\xff" + b"j" * 50}, image_result=image_result)

    (record,) = harvest.run(make_url("out.jpg")).records

    assert record.format == "jpeg"
    assert record.url.endswith("/out.jpg")


@pytest.mark.parametrize("has_output", [True, False])
def test_unreadable_image_is_served_as_download(has_output: bool) -> None:
    image_result = ImageResult(
        ImageOutcome.UNREADABLE,
        "broken",
        bytes_after=7,
        sha256="ab" * 32 if has_output else "",
        is_source_publishable=not has_output,
    )
    harvest = Harvest({make_url("out.png"): PNG}, image_result=image_result)

    (record,) = harvest.run(make_url("out.png")).records

    body, headers = harvest.get_object(record.url)
    assert (record.outcome, record.reason, record.kind) == ("unreadable", "broken", "image")
    assert body == (b"ooooooo" if has_output else PNG)
    assert headers["content_type"] == "application/octet-stream"
    assert headers["content_disposition"].startswith("attachment")


def test_image_over_limit_is_served_inline_without_its_metadata() -> None:
    image_result = ImageResult(ImageOutcome.UNMODIFIED, "too_many_pixels", bytes_after=7, sha256="ab" * 32)
    harvest = Harvest({make_url("out"): PNG}, image_result=image_result)

    (record,) = harvest.run(make_url("out")).records

    body, headers = harvest.get_object(record.url)
    assert body == b"ooooooo"
    assert headers["content_type"] == "image/png"
    assert headers["content_disposition"].startswith("inline")
    assert (record.outcome, record.reason, record.format) == ("unmodified", "too_many_pixels", "png")


@pytest.mark.parametrize("outcome", [ImageOutcome.UNMODIFIED, ImageOutcome.UNREADABLE])
@pytest.mark.parametrize("keep_originals", [True, False])
def test_image_whose_metadata_cannot_be_removed_is_not_public(
    outcome: ImageOutcome, keep_originals: bool
) -> None:
    harvest = Harvest(
        {make_url("out.png"): PNG},
        settings=HarvestSettings(keep_originals=keep_originals),
        image_result=ImageResult(outcome, "broken"),
    )

    result = harvest.run(make_url("out.png"))

    (record,) = result.records
    assert result.output == record.url == make_url("out.png")
    assert (record.outcome, record.reason) == ("not_stored", "metadata_not_removed")
    assert not result.has_retryable_files
    assert list(harvest.blobs.objects) == [record.original_key]
    assert (record.original_key or "").startswith("originals/")
    assert harvest.blobs.objects[record.original_key or ""] == PNG


@pytest.mark.parametrize("name", ["page.html", "page.png", "page", "page.svg"])
def test_active_content_is_served_as_download_under_any_name(name: str) -> None:
    harvest = Harvest({make_url(name): HTML})

    (record,) = harvest.run(make_url(name)).records

    assert harvest.get_object(record.url)[1]["content_disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [
        (PermanentFetchError("not_found"), "not_found", False),
        (PermanentFetchError("address_not_allowed"), "address_not_allowed", False),
        (PermanentFetchError("too_large"), "too_large", False),
        (TransientFetchError("upstream_error"), "upstream_error", True),
        (ValueError("a bug, or a library that raises what it does not document"), "internal_error", True),
        (TransientFetchError("too_slow"), "too_slow", True),
    ],
)
def test_file_that_cannot_be_fetched_keeps_source_url_and_others_are_stored(
    error: Exception, reason: str, retryable: bool
) -> None:
    harvest = Harvest({make_url("a.png"): error, make_url("b.png"): PNG})

    result = harvest.run([make_url("a.png"), make_url("b.png")])

    assert result.is_complete
    assert result.output[0] == make_url("a.png")
    assert result.output[1].startswith(BASE_URL)
    record = result.records[0]
    assert (record.outcome, record.reason, record.retryable) == ("not_stored", reason, retryable)
    assert result.has_retryable_files == retryable


def test_file_is_retryable_when_bucket_fails() -> None:
    harvest = Harvest({make_url("a.png"): PNG})
    harvest.blobs.is_failing = True

    result = harvest.run(make_url("a.png"))

    assert (result.output, result.records[0].reason) == (make_url("a.png"), "store_failed")
    assert result.has_retryable_files


def test_repeated_harvest_has_same_result_and_writes_nothing() -> None:
    harvest = Harvest({make_url("a.png"): PNG, make_url("b.mp4"): MP4})
    first = harvest.run([make_url("a.png"), make_url("b.mp4")])
    writes = harvest.blobs.writes

    repeated = harvest.run([make_url("a.png"), make_url("b.mp4")])

    assert repeated == first
    assert harvest.blobs.writes == writes


def test_repeated_url_is_fetched_once() -> None:
    harvest = Harvest({make_url("a.png"): PNG})

    result = harvest.run([make_url("a.png"), {"copy": make_url("a.png")}])

    assert len(harvest.fetcher.requests) == 1
    assert result.output[0] == result.output[1]["copy"]
    assert [record.path for record in result.records] == [(0,), (1, "copy")]


def test_files_are_fetched_in_parallel_up_to_limit() -> None:
    """Each fetch waits for two others: with fewer in parallel the barrier would break."""
    urls = [make_url(f"{index}.mp4") for index in range(9)]
    harvest = Harvest(dict.fromkeys(urls, MP4), settings=HarvestSettings(max_parallel_files=3))
    barrier = threading.Barrier(3, timeout=10)
    harvest.fetcher.on_fetch = lambda _: ignore(barrier.wait())

    result = harvest.run(urls)

    assert result.is_complete
    assert harvest.fetcher.max_concurrent == 3


def ignore(_: object) -> None:
    """Return nothing, as the callback must."""


class TestContinuation:
    def test_files_beyond_byte_limit_of_invocation_remain_for_next(self) -> None:
        urls = [make_url(f"{index}.mp4") for index in range(10)]
        settings = HarvestSettings(max_invocation_bytes=3 * len(MP4), max_parallel_files=1)
        harvest = Harvest(dict.fromkeys(urls, MP4), settings=settings)

        results = [harvest.run(urls)]
        while results[-1].remaining:
            results.append(harvest.run(urls, earlier_records=results[-1].records))

        assert [len(result.records) for result in results] == [3, 6, 9, 10]
        result = results[-1]
        assert [record.path for record in result.records] == [(index,) for index in range(10)]
        assert all(url.startswith(BASE_URL) for url in result.output)
        assert len(harvest.fetcher.requests) == 10

    def test_no_file_is_started_in_reserved_time(self) -> None:
        harvest = Harvest({make_url("a.mp4"): MP4})

        result = harvest.run([make_url("a.mp4")], seconds=harvest.settings.reserved_seconds)

        assert result.remaining == ((0,),)
        assert result.output == [make_url("a.mp4")]
        assert harvest.fetcher.requests == []

    def test_download_with_shortened_timeout_is_repeated_with_full_timeout(self) -> None:
        harvest = Harvest({make_url("a.mp4"): TransientFetchError("too_slow")})

        shortened = harvest.run([make_url("a.mp4")], seconds=harvest.settings.reserved_seconds + 30)
        full = harvest.run([make_url("a.mp4")], earlier_records=shortened.records)

        assert not shortened.is_complete
        assert full.is_complete
        assert full.records[0].reason == "too_slow"
        assert [seconds for _, seconds in harvest.fetcher.requests] == [
            30,
            harvest.settings.fetch_timeout_seconds,
        ]

    def test_file_remains_when_disk_is_full(self) -> None:
        harvest = Harvest({make_url("a.mp4"): FetchDeferredError("full"), make_url("b.mp4"): MP4})

        result = harvest.run([make_url("a.mp4"), make_url("b.mp4")])

        assert result.remaining == ((0,),)
        assert [record.path for record in result.records] == [(1,)]

    def test_images_that_do_not_fit_remain_and_the_others_are_saved(self) -> None:
        # Given one image worker, which each image occupies for as long as it may
        urls = [make_url(f"{index}/out.png") for index in range(30)]
        harvest = Harvest(dict.fromkeys(urls, PNG))
        harvest.harvester._file_harvester._compressor = SlowImageCompressor(harvest.clock, seconds=27)

        result = harvest.run(urls)

        elapsed_seconds = (harvest.clock.now() - NOW).total_seconds()
        assert elapsed_seconds <= 300 - harvest.settings.storing_seconds
        assert len(result.records) == int(elapsed_seconds // 27) > 5
        assert len(result.records) + len(result.remaining) == len(urls)
        assert list(result.records) == sorted(harvest.recorded, key=lambda record: record.path)

    def test_result_is_returned_in_time_while_an_upload_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Given an invocation of a second, and an upload that ends after it
        harvest = Harvest(
            {make_url("a.mp4"): MP4, make_url("b.png"): PNG}, settings=HarvestSettings(reserved_seconds=0.8)
        )
        is_over, is_stored = threading.Event(), threading.Event()
        put_file = harvest.blobs.put_file

        def put_slowly(key: str, file: BinaryIO, **options: Any) -> bool:
            if options["content_type"] != "video/mp4":
                return put_file(key, file, **options)
            is_over.wait(60)
            is_new = put_file(key, file, **options)
            is_stored.set()
            return is_new

        monkeypatch.setattr(harvest.blobs, "put_file", put_slowly)

        result = harvest.run([make_url("a.mp4"), make_url("b.png")], seconds=1)
        is_over.set()

        assert result.remaining == ((0,),)
        assert [record.path for record in result.records] == [(1,)]
        assert is_stored.wait(60)
        assert [record.path for record in harvest.recorded] == [(1,)]

    def test_image_remains_when_disk_has_no_room_for_its_copy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def reserve_copy(size: int) -> None:
            raise FetchDeferredError("full")

        harvest = Harvest({make_url("a.png"): PNG, make_url("b.mp4"): MP4})
        monkeypatch.setattr(harvest.fetcher, "reserve_copy", reserve_copy)

        result = harvest.run([make_url("a.png"), make_url("b.mp4")])

        assert result.remaining == ((0,),)
        assert [record.path for record in result.records] == [(1,)]

    def test_slow_files_are_tried_again_after_all_others(self) -> None:
        # Given an invocation that ends with the third slow file, and no parallel downloads
        slow, fast = [make_url(f"slow{index}.mp4") for index in range(3)], make_url("fast.mp4")
        files: dict[str, bytes | Exception] = {url: TransientFetchError("too_slow") for url in slow}
        files[fast] = MP4
        harvest = Harvest(files, settings=HarvestSettings(max_parallel_files=1))

        def spend_timeout(url: str) -> None:
            if url in slow:
                harvest.clock.advance(harvest.fetcher.requests[-1][1])

        harvest.fetcher.on_fetch = spend_timeout
        first = harvest.run([*slow, fast])
        assert [record.path for record in first.records] == [(0,), (1,)]

        second = harvest.run([*slow, fast], earlier_records=first.records, seconds=600)
        third = harvest.run([*slow, fast], earlier_records=second.records, seconds=900)

        assert [url for url, _ in harvest.fetcher.requests[3:5]] == [slow[2], fast]
        assert [record.is_stored for record in second.records] == [False, False, False, True]
        # and the slow files keep their records while they are to be tried again
        assert second.remaining == ((1,),)
        assert [record.reason for record in third.records] == ["too_slow", "too_slow", "too_slow", ""]

    def test_file_without_earlier_record_is_harvested_again(self) -> None:
        harvest = Harvest({make_url("a.mp4"): TransientFetchError("upstream_error")})
        first = harvest.run([make_url("a.mp4")])
        harvest.fetcher.files = {make_url("a.mp4"): MP4}

        final_records = tuple(record for record in first.records if not record.retryable)
        second = harvest.run([make_url("a.mp4")], earlier_records=final_records)

        assert second.records[0].outcome == "stored"


def test_files_beyond_limit_are_not_stored() -> None:
    urls = [make_url(f"{index}.mp4") for index in range(5)]
    harvest = Harvest(dict.fromkeys(urls, MP4), settings=HarvestSettings(max_files=3))

    result = harvest.run(urls)

    assert [record.reason for record in result.records] == ["", "", "", "too_many_files", "too_many_files"]
    assert result.output[3:] == urls[3:]


def test_records_do_not_repeat_content_of_data_uris() -> None:
    uris = ["data:image/png;base64,!" + "A" * 1000, "data:text/plain," + "A" * 1000]
    files = {uris[0]: PermanentFetchError("bad_data_uri")}
    result = Harvest(files, settings=HarvestSettings(max_files=1)).run(uris)
    assert result.output == uris
    assert [(record.url, record.reason) for record in result.records] == [
        ("data:image/png;base64,", "bad_data_uri"),
        ("data:text/plain,", "too_many_files"),
    ]


def test_texts_beyond_limit_of_job_are_dropped() -> None:
    urls = [make_url(f"{index}.png") for index in range(4)]
    harvest = Harvest(dict.fromkeys(urls, PNG), settings=HarvestSettings(max_text_bytes_per_job=12))

    records = harvest.run(urls).records

    assert [bool(record.text) for record in records] == [True, True, False, False]


def test_each_file_is_recorded_once() -> None:
    harvest = Harvest({make_url("a.png"): PNG, make_url("b.mp4"): PermanentFetchError("not_found")})

    result = harvest.run([make_url("a.png"), make_url("b.mp4")])

    assert sorted(harvest.recorded, key=lambda record: record.path) == list(result.records)
    assert replace(result.records[0], text={}) != result.records[1]


@pytest.mark.parametrize("output", [None, "text", 5, [], {}, ["a", {"b": None}]])
def test_output_without_files_is_complete(output: Any) -> None:
    result = Harvest({}).run(output)

    assert (result.output, result.records, result.is_complete) == (output, (), True)


@pytest.mark.parametrize(
    ("output", "name", "content_type"),
    [
        (["to"] * 900_000, "output.json", "application/json"),
        ("<script>ü" * 700_000, "output.txt", "text/plain; charset=utf-8"),
        ({"quotes": '"' * 1_200_000}, "output.json", "application/json"),
    ],
)
def test_output_too_large_for_a_response_becomes_a_file(output: Any, name: str, content_type: str) -> None:
    harvest = Harvest({})

    result = harvest.run(output)

    (record,) = result.records
    assert (record.path, record.outcome, record.reason) == ((), "stored", "output_too_large")
    assert result.output == record.url
    assert record.url.endswith(f"/{name}")
    body, headers = harvest.get_object(record.url)
    assert (body.decode() if isinstance(output, str) else json.loads(body)) == output
    assert headers["content_type"] == content_type
    assert headers["content_disposition"].startswith("attachment")
    assert harvest.recorded == [record]


def test_file_of_a_large_output_holds_the_urls_of_its_stored_files() -> None:
    harvest = Harvest({make_url("a.mp4"): MP4})

    result = harvest.run({"film": make_url("a.mp4"), "tokens": ["to"] * 900_000})

    film, whole = result.records
    body, _ = harvest.get_object(whole.url)
    assert json.loads(body)["film"] == film.url


def test_large_output_becomes_a_file_only_once_its_files_are_stored() -> None:
    harvest = Harvest({make_url("a.mp4"): FetchDeferredError("full")})
    output = [make_url("a.mp4"), *["to"] * 900_000]

    assert harvest.run(output).output == output
