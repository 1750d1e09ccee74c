"""The pool's child processes: reused, limited, killed and replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from PIL import Image, PngImagePlugin

from replicate_proxy.images.containers import png as png_container
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pool import ImageWorker, ImageWorkerPool, TaskFiles
from replicate_proxy.images.task import (
    CompressionDeferredError,
    ImageLimits,
    ImageOutcome,
    ImageResult,
    UnreadableImageError,
)
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.outputs.settings import HarvestSettings
from tests.support.images import SECRET, encode_image, make_photo, write_file

OPTIONS = ImageOptions()


@pytest.fixture
def pool():  # type: ignore[no-untyped-def] # a generator of ImageWorkerPool, which the tests' signatures name
    pool = ImageWorkerPool(workers=1, limits=ImageLimits(timeout_seconds=20))
    yield pool
    pool.close()


def compress(pool: ImageWorkerPool, folder: Path, content: bytes) -> ImageResult:
    source = write_file(folder, content)
    return pool.compress(source, folder / "output", folder / "thumbnail", OPTIONS)


def list_children() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if "replicate_proxy.images.worker" in child.cmdline()
    ]


def test_pool_uses_one_child_for_many_images(pool: ImageWorkerPool, tmp_path: Path) -> None:
    results = [compress(pool, tmp_path, encode_image(make_photo(seed=seed))) for seed in range(4)]

    assert {result.outcome for result in results} == {ImageOutcome.COMPRESSED}
    assert len({result.sha256 for result in results}) == 4
    assert len(list_children()) == 1


def test_pool_keeps_child_when_image_is_broken(pool: ImageWorkerPool, tmp_path: Path) -> None:
    compress(pool, tmp_path, encode_image(make_photo()))
    pid = list_children()[0].pid

    result = compress(pool, tmp_path, encode_image(make_photo())[:300])

    assert (result.outcome, result.reason) == (ImageOutcome.UNREADABLE, "broken")
    assert list_children()[0].pid == pid


def test_image_is_unmodified_when_memory_limit_is_exceeded(tmp_path: Path) -> None:
    pool = ImageWorkerPool(limits=ImageLimits(max_memory_mb=64))
    try:
        large = Image.new("RGB", (4500, 4500), "teal")
        result = compress(pool, tmp_path, encode_image(large))
        assert (result.outcome, result.reason) == (ImageOutcome.UNMODIFIED, "memory_limit")
        next_result = compress(pool, tmp_path, encode_image(make_photo()))
        assert next_result.outcome is ImageOutcome.COMPRESSED
    finally:
        pool.close()


def test_child_is_killed_and_replaced_when_time_limit_is_exceeded(
    pool: ImageWorkerPool, tmp_path: Path
) -> None:
    """The child waits for a reader of its thumbnail, which is a pipe."""
    pool.close()
    pool = ImageWorkerPool(limits=ImageLimits(timeout_seconds=0.5))
    compress(pool, tmp_path, encode_image(make_photo()))
    source, pipe = write_file(tmp_path, make_png_with_secret()), tmp_path / "pipe"
    os.mkfifo(pipe)
    try:
        result = pool.compress(source, tmp_path / "output", pipe, OPTIONS)
        assert (result.outcome, result.reason) == (ImageOutcome.UNMODIFIED, "time_limit")
        assert result.sha256
        assert SECRET not in (tmp_path / "output").read_bytes()
        next_result = compress(pool, tmp_path, encode_image(make_photo()))
        assert next_result.outcome is ImageOutcome.COMPRESSED
    finally:
        pool.close()


def test_image_is_deferred_when_deadline_passes_before_its_time_limit(
    pool: ImageWorkerPool, tmp_path: Path
) -> None:
    """The child waits for a reader of its thumbnail, which is a pipe."""
    compress(pool, tmp_path, encode_image(make_photo()))
    source, pipe = write_file(tmp_path, make_png_with_secret()), tmp_path / "pipe"
    os.mkfifo(pipe)

    with pytest.raises(CompressionDeferredError):
        pool.compress(source, tmp_path / "output", pipe, OPTIONS, Deadline(0.5))

    assert list_children() == []
    assert compress(pool, tmp_path, encode_image(make_photo())).outcome is ImageOutcome.COMPRESSED


def test_image_is_deferred_when_no_worker_becomes_free_before_deadline(
    pool: ImageWorkerPool, tmp_path: Path
) -> None:
    source = write_file(tmp_path, encode_image(make_photo()))
    worker = pool._free.get()
    try:
        with pytest.raises(CompressionDeferredError):
            pool.compress(source, tmp_path / "output", tmp_path / "thumbnail", OPTIONS, Deadline(0.1))
    finally:
        pool._free.put(worker)

    assert compress(pool, tmp_path, encode_image(make_photo())).outcome is ImageOutcome.COMPRESSED


@pytest.mark.parametrize(("size_mb", "is_publishable"), [(4, True), (6, False)])
def test_metadata_is_removed_of_files_up_to_the_largest(
    tmp_path: Path, size_mb: int, is_publishable: bool
) -> None:
    # Given a PNG with metadata that is too large to be decoded
    size_bytes = size_mb * 1024 * 1024
    pool = ImageWorkerPool(limits=ImageLimits(max_bytes=1, max_file_bytes=4 * 1024 * 1024))
    png = make_png_with_secret()
    data = png_container.build_chunk(b"IDAT", bytes(size_bytes - len(png) - 12))
    end = png_container.build_chunk(b"IEND", b"")
    try:
        result = compress(pool, tmp_path, png.removesuffix(end) + data + end)
    finally:
        pool.close()

    assert (result.reason, result.bytes_before) == ("too_many_bytes", size_bytes)
    assert result.is_publishable is is_publishable


def test_largest_file_of_an_image_is_by_default_that_of_a_harvest() -> None:
    assert ImageLimits().max_file_bytes == HarvestSettings().max_file_bytes


def make_png_with_secret() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("place", SECRET)
    return encode_image(make_photo(), pnginfo=info)


def test_child_is_replaced_when_it_crashed(pool: ImageWorkerPool, tmp_path: Path) -> None:
    compress(pool, tmp_path, encode_image(make_photo()))
    child = list_children()[0]
    child.send_signal(signal.SIGSEGV)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert compress(pool, tmp_path, encode_image(make_photo())).outcome is ImageOutcome.COMPRESSED


CRASHING_WORKER = """
import os, pathlib, signal, sys
from replicate_proxy.images import worker

counter, process_image = pathlib.Path(sys.argv[2]), worker.process_image

def crash_or_process(task):
    remaining = int(counter.read_text())
    if task.failure is None and remaining:
        counter.write_text(str(remaining - 1))
        os.kill(os.getpid(), signal.SIGSEGV)
    return process_image(task)

worker.process_image = crash_or_process
worker.main()
"""


@pytest.mark.parametrize("crashes", [1, 2])
def test_image_is_unreadable_only_when_child_crashes_twice(
    crashes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = write_file(tmp_path, str(crashes).encode(), "counter")
    start_process = subprocess.Popen

    def start_crashing(arguments: list[str], **options: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", CRASHING_WORKER, arguments[-1], str(counter)]
        return start_process(command, **options)  # type: ignore[call-overload, no-any-return] # Popen's overloads do not take **object

    monkeypatch.setattr(subprocess, "Popen", start_crashing)
    pool = ImageWorkerPool(limits=ImageLimits(timeout_seconds=20))
    try:
        result = compress(pool, tmp_path, make_png_with_secret())
    finally:
        pool.close()
    if crashes == 1:
        assert result.outcome is ImageOutcome.COMPRESSED
    else:
        assert (result.outcome, result.reason) == (ImageOutcome.UNREADABLE, "worker_crashed")
    assert SECRET not in (tmp_path / "output").read_bytes()
    assert counter.read_text() == "0"


def test_child_environment_holds_paths_and_no_credentials(
    pool: ImageWorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/var/lang/lib:/opt/lib")
    compress(pool, tmp_path, encode_image(make_photo()))

    environment = list_children()[0].environ()

    assert "very secret" not in json.dumps(environment)
    assert environment.pop("LD_LIBRARY_PATH") == "/var/lang/lib:/opt/lib"
    unknown = {name for name in environment if not name.startswith(("PYTHON", "MALLOC_", "LC_"))}
    assert unknown == set()


def test_pool_of_two_runs_two_children(tmp_path: Path) -> None:
    pool = ImageWorkerPool(workers=2)
    results: list[ImageResult] = []

    def work(index: int) -> None:
        folder = tmp_path / str(index)
        folder.mkdir()
        results.append(compress(pool, folder, encode_image(make_photo(600, 400, seed=index))))

    try:
        threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result.outcome for result in results] == [ImageOutcome.COMPRESSED] * 6
        assert len(list_children()) == 2
    finally:
        pool.close()


def test_close_ends_all_children(pool: ImageWorkerPool, tmp_path: Path) -> None:
    compress(pool, tmp_path, encode_image(make_photo()))
    pool.close()

    assert list_children() == []


def test_start_worker_starts_child_before_first_image(pool: ImageWorkerPool) -> None:
    pool.start_worker()

    assert len(list_children()) == 1


def test_worker_reports_crash_when_child_writes_invalid_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import sys\nprint('{}', flush=True)\nfor line in sys.stdin:\n    print('not json', flush=True)\n"
    )
    start_process = subprocess.Popen

    def start_script(arguments: list[str], **options: object) -> subprocess.Popen[bytes]:
        return start_process([sys.executable, "-c", script], **options)  # type: ignore[call-overload, no-any-return] # Popen's overloads do not take **object

    monkeypatch.setattr(subprocess, "Popen", start_script)
    worker = ImageWorker(ImageLimits(timeout_seconds=5))
    with pytest.raises(UnreadableImageError) as caught:
        worker.run_task(TaskFiles(tmp_path, tmp_path, tmp_path), OPTIONS)

    assert caught.value.reason == "worker_crashed"
