"""Whole outputs, with a fake upstream and a fake bucket."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.task import ImageOutcome, ImageResult
from replicate_proxy.outputs.fetch import FileDeferredError, FileUnavailableError, FileUnobtainableError
from replicate_proxy.outputs.file_harvester import FileHarvester
from replicate_proxy.outputs.harvester import ParallelOutputHarvester
from replicate_proxy.outputs.records import FileRecord, HarvestResult
from replicate_proxy.outputs.settings import HarvestSettings
from replicate_proxy.outputs.storage import OutputFileStore
from tests.support.clock import NOW, FakeClock
from tests.support.harvest import FakeBlobStore, FakeFileFetcher, FakeImageCompressor

BASE = "https://cdn.example"
PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 100
MP4 = b"\0\0\0\x18ftypisom" + b"v" * 50
HTML = b"<html><script>alert(1)</script>"


class Harvest:
    """A harvester on fakes, and what a test wants to look at afterwards."""

    def __init__(
        self,
        files: Mapping[str, bytes | Exception],
        *,
        settings: HarvestSettings | None = None,
        image: ImageResult | None = None,
    ) -> None:
        self.settings = settings or HarvestSettings()
        self.blobs, self.fetcher, self.clock = FakeBlobStore(), FakeFileFetcher(files), FakeClock()
        self.observed: list[FileRecord] = []
        self.harvester = ParallelOutputHarvester(
            file_harvester=FileHarvester(
                fetcher=self.fetcher,
                store=OutputFileStore(self.blobs, base_url=BASE + "/", secret=b"k" * 32),
                compressor=FakeImageCompressor(image),
                settings=self.settings,
            ),
            settings=self.settings,
            clock=self.clock,
            on_file_harvested=self.observed.append,
        )

    def run(
        self, output: Any, *, already: tuple[FileRecord, ...] = (), seconds: float = 300
    ) -> HarvestResult:
        return self.harvester.harvest(
            tenant="acme",
            job_id="job1",
            output=output,
            options=ImageOptions(),
            deadline=NOW + timedelta(seconds=seconds),
            earlier_records=already,
        )

    def served(self, url: str) -> tuple[bytes, dict[str, Any]]:
        key = url.removeprefix(BASE + "/")
        return self.blobs.objects[key], self.blobs.headers[key]


def url(name: str) -> str:
    return f"https://replicate.delivery/pbxt/{name}"


def test_a_mixed_output_keeps_its_shape_with_our_urls_in_it() -> None:
    harvest = Harvest({url("a/out.png"): PNG, url("b/out.png"): PNG, url("film.mp4"): MP4})
    output = {
        "images": [url("a/out.png"), url("b/out.png")],
        "film": url("film.mp4"),
        "n": 2,
        "t": "hi",
        "x": None,
    }

    result = harvest.run(output)

    assert result.is_complete
    assert list(result.output) == list(output)
    assert (result.output["n"], result.output["t"], result.output["x"]) == (2, "hi", None)
    served = [*result.output["images"], result.output["film"]]
    assert len(set(served)) == 3
    assert all(address.startswith(BASE + "/outputs/") for address in served)
    assert [record.outcome for record in result.records] == ["compressed", "compressed", "stored"]


def test_a_compressed_image_is_told_about_in_full() -> None:
    harvest = Harvest({url("out.png"): PNG})

    (record,) = harvest.run([url("out.png")]).records

    body, headers = harvest.served(record.url)
    assert body.startswith(b"small")
    assert headers["content_type"] == "image/webp"
    assert headers["content_disposition"] == 'inline; filename="out.webp"'
    assert headers["cache_control"] == "public, max-age=31536000, immutable"
    assert headers["sha256"] == record.sha256
    assert (record.width, record.height, record.bytes_before, record.bytes_after) == (
        4,
        3,
        len(PNG),
        len(body),
    )
    assert (record.kind, record.format, record.source_host) == ("image", "webp", "replicate.delivery")
    assert record.text == {"seed": "42"}
    assert record.placeholder
    assert harvest.served(record.thumbnail_url or "")[0] == b"thumb"
    assert harvest.blobs.objects[record.original_key or ""] == PNG
    assert harvest.blobs.headers[record.original_key or ""]["content_disposition"].startswith("attachment")


def test_originals_are_dropped_by_setting() -> None:
    harvest = Harvest({url("out.png"): PNG}, settings=HarvestSettings(keep_originals=False))

    (record,) = harvest.run(url("out.png")).records

    assert record.original_key is None
    assert not any(key.startswith("originals/") for key in harvest.blobs.objects)


def test_an_image_that_stays_as_it_is_is_stored_once() -> None:
    kept = ImageResult(
        ImageOutcome.UNMODIFIED, "not_smaller", format="png", width=9, height=9, thumbnail_bytes=3
    )
    harvest = Harvest({url("out.png"): PNG}, image=kept)

    (record,) = harvest.run(url("out.png")).records

    assert (record.outcome, record.reason, record.format) == ("unmodified", "not_smaller", "png")
    assert harvest.served(record.url)[0] == PNG
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
def test_a_kept_image_without_its_metadata_is_what_gets_served(format_name: str, head: bytes) -> None:
    stripped = ImageResult(
        ImageOutcome.UNMODIFIED, "not_smaller", format=format_name, bytes_after=7, sha256="ab" * 32
    )
    harvest = Harvest({url("out"): head + b"j" * 50}, image=stripped)

    (record,) = harvest.run(url("out")).records

    body, headers = harvest.served(record.url)
    assert body == b"ooooooo"
    assert headers["content_type"] == f"image/{format_name}"
    assert (record.outcome, record.bytes_after) == ("unmodified", 7)


def test_an_unreadable_image_is_a_download() -> None:
    harvest = Harvest({url("out.png"): PNG}, image=ImageResult(ImageOutcome.UNREADABLE, "broken"))

    (record,) = harvest.run(url("out.png")).records

    body, headers = harvest.served(record.url)
    assert (record.outcome, record.reason, record.kind) == ("unreadable", "broken", "image")
    assert body == PNG
    assert headers["content_type"] == "application/octet-stream"
    assert headers["content_disposition"].startswith("attachment")


@pytest.mark.parametrize("name", ["page.html", "page.png", "page", "page.svg"])
def test_active_content_is_a_download_whatever_its_name(name: str) -> None:
    harvest = Harvest({url(name): HTML})

    (record,) = harvest.run(url(name)).records

    assert harvest.served(record.url)[1]["content_disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("error", "reason", "retry"),
    [
        (FileUnobtainableError("not_found"), "not_found", False),
        (FileUnobtainableError("address_not_allowed"), "address_not_allowed", False),
        (FileUnobtainableError("too_large"), "too_large", False),
        (FileUnavailableError("upstream_error"), "upstream_error", True),
        (FileUnavailableError("too_slow"), "too_slow", True),
    ],
)
def test_what_cannot_be_had_stays_where_it_is_and_the_rest_goes_on(
    error: Exception, reason: str, retry: bool
) -> None:
    harvest = Harvest({url("a.png"): error, url("b.png"): PNG})

    result = harvest.run([url("a.png"), url("b.png")])

    assert result.is_complete
    assert result.output[0] == url("a.png")
    assert result.output[1].startswith(BASE)
    assert (result.records[0].outcome, result.records[0].reason, result.records[0].retryable) == (
        "not_stored",
        reason,
        retry,
    )
    assert result.has_retryable_files == retry


def test_a_bucket_that_is_unwell_leaves_the_file_to_another_try() -> None:
    harvest = Harvest({url("a.png"): PNG})
    harvest.blobs.is_failing = True

    result = harvest.run(url("a.png"))

    assert (result.output, result.records[0].reason) == (url("a.png"), "store_failed")
    assert result.has_retryable_files


def test_a_repeat_writes_nothing_and_says_the_same() -> None:
    harvest = Harvest({url("a.png"): PNG, url("b.mp4"): MP4})
    first = harvest.run([url("a.png"), url("b.mp4")])
    writes = harvest.blobs.writes

    again = harvest.run([url("a.png"), url("b.mp4")])

    assert again == first
    assert harvest.blobs.writes == writes


def test_a_url_named_twice_is_fetched_once() -> None:
    harvest = Harvest({url("a.png"): PNG})

    result = harvest.run([url("a.png"), {"again": url("a.png")}])

    assert len(harvest.fetcher.requests) == 1
    assert result.output[0] == result.output[1]["again"]
    assert [record.path for record in result.records] == [(0,), (1, "again")]


def test_files_are_fetched_in_parallel_but_no_more_than_set() -> None:
    """Given three at once, each waits until three are there: with fewer the barrier would break."""
    names = [url(f"{index}.mp4") for index in range(9)]
    harvest = Harvest(dict.fromkeys(names, MP4), settings=HarvestSettings(max_parallel_files=3))
    barrier = threading.Barrier(3, timeout=10)
    harvest.fetcher.on_fetch = lambda _: void(barrier.wait())

    result = harvest.run(names)

    assert result.is_complete
    assert harvest.fetcher.max_concurrent == 3


def void(_: object) -> None:
    """For callbacks that answer nothing."""


class TestContinuation:
    def test_files_beyond_the_bytes_of_an_invocation_wait_for_the_next(self) -> None:
        names = [url(f"{index}.mp4") for index in range(10)]
        settings = HarvestSettings(max_invocation_bytes=3 * len(MP4), max_parallel_files=1)
        harvest = Harvest(dict.fromkeys(names, MP4), settings=settings)

        rounds = [harvest.run(names)]
        while rounds[-1].remaining:
            rounds.append(harvest.run(names, already=rounds[-1].records))
        result = rounds[-1]

        assert [len(one.records) for one in rounds] == [3, 6, 9, 10]
        assert [record.path for record in result.records] == [(index,) for index in range(10)]
        assert all(address.startswith(BASE) for address in result.output)
        assert len(harvest.fetcher.requests) == 10

    def test_nothing_is_begun_when_the_end_is_near(self) -> None:
        harvest = Harvest({url("a.mp4"): MP4})

        result = harvest.run([url("a.mp4")], seconds=harvest.settings.reserved_seconds)

        assert result.remaining == ((0,),)
        assert result.output == [url("a.mp4")]
        assert harvest.fetcher.requests == []

    def test_a_download_cut_short_by_the_end_is_begun_again_with_full_time(self) -> None:
        slow = Harvest({url("a.mp4"): FileUnavailableError("too_slow")})

        short = slow.run([url("a.mp4")], seconds=slow.settings.reserved_seconds + 30)
        full = slow.run([url("a.mp4")], already=short.records)

        assert not short.is_complete
        assert full.is_complete
        assert full.records[0].reason == "too_slow"
        assert [seconds for _, seconds in slow.fetcher.requests] == [30, slow.settings.fetch_timeout_seconds]

    def test_no_room_on_the_disk_puts_a_file_off(self) -> None:
        harvest = Harvest({url("a.mp4"): FileDeferredError("full"), url("b.mp4"): MP4})

        result = harvest.run([url("a.mp4"), url("b.mp4")])

        assert result.remaining == ((0,),)
        assert [record.path for record in result.records] == [(1,)]

    def test_files_with_retry_are_tried_again_when_left_out_of_already(self) -> None:
        harvest = Harvest({url("a.mp4"): FileUnavailableError("upstream_error")})
        first = harvest.run([url("a.mp4")])
        harvest.fetcher.files = {url("a.mp4"): MP4}

        second = harvest.run([url("a.mp4")], already=tuple(r for r in first.records if not r.retryable))

        assert second.records[0].outcome == "stored"


def test_more_files_than_a_job_may_have_are_left() -> None:
    names = [url(f"{index}.mp4") for index in range(5)]
    harvest = Harvest(dict.fromkeys(names, MP4), settings=HarvestSettings(max_files=3))

    result = harvest.run(names)

    assert [record.reason for record in result.records] == ["", "", "", "too_many_files", "too_many_files"]
    assert result.output[3:] == names[3:]


def test_the_models_texts_together_have_a_bound() -> None:
    names = [url(f"{index}.png") for index in range(4)]
    harvest = Harvest(dict.fromkeys(names, PNG), settings=HarvestSettings(max_text_bytes_per_job=12))

    records = harvest.run(names).records

    assert [bool(record.text) for record in records] == [True, True, False, False]


def test_each_file_is_observed_once() -> None:
    harvest = Harvest({url("a.png"): PNG, url("b.mp4"): FileUnobtainableError("not_found")})

    result = harvest.run([url("a.png"), url("b.mp4")])

    assert sorted(harvest.observed, key=lambda record: record.path) == list(result.records)
    assert replace(result.records[0], text={}) != result.records[1]


@pytest.mark.parametrize("output", [None, "text", 5, [], {}, ["a", {"b": None}]])
def test_an_output_without_files_is_done_at_once(output: Any) -> None:
    result = Harvest({}).run(output)

    assert (result.output, result.records, result.is_complete) == (output, (), True)
