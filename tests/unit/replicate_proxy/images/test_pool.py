"""The child processes: kept, walled in, killed and replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pool import ImageWorker, ImageWorkerPool
from replicate_proxy.images.task import ImageLimits, ImageResult, UnreadableImageError
from tests.support.pictures import encode_image, make_photo, write_file

OPTIONS = ImageOptions()


@pytest.fixture
def pool():  # type: ignore[no-untyped-def] # a generator of ImagePool, which the tests' signatures name
    made = ImageWorkerPool(workers=1, limits=ImageLimits(timeout_seconds=20))
    yield made
    made.close()


def run(pool: ImageWorkerPool, folder: Path, content: bytes, name: str = "source") -> ImageResult:
    return pool.compress(write_file(folder, content, name), folder / "out", folder / "small", OPTIONS)


def children() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if "replicate_proxy.images.worker" in child.cmdline()
    ]


def test_one_child_serves_many_images(pool: ImageWorkerPool, tmp_path: Path) -> None:
    results = [run(pool, tmp_path, encode_image(make_photo(seed=seed))) for seed in range(4)]

    assert {result.outcome for result in results} == {"compressed"}
    assert len({result.sha256 for result in results}) == 4
    assert len(children()) == 1


def test_a_broken_image_does_not_cost_the_child(pool: ImageWorkerPool, tmp_path: Path) -> None:
    run(pool, tmp_path, encode_image(make_photo()))
    before = children()[0].pid

    result = run(pool, tmp_path, encode_image(make_photo())[:300])

    assert (result.outcome, result.reason) == ("unreadable", "broken")
    assert children()[0].pid == before


def test_an_image_beyond_the_memory_wall_is_kept_and_the_next_one_served(tmp_path: Path) -> None:
    pool = ImageWorkerPool(limits=ImageLimits(max_memory_mb=64))
    try:
        large = Image.new("RGB", (4500, 4500), "teal")
        result = run(pool, tmp_path, encode_image(large))
        assert (result.outcome, result.reason) == ("unmodified", "memory_limit")
        assert run(pool, tmp_path, encode_image(make_photo())).outcome == "compressed"
    finally:
        pool.close()


def test_a_child_that_hangs_is_killed_in_time_and_replaced(pool: ImageWorkerPool, tmp_path: Path) -> None:
    """Given a source that never ends (a pipe nobody writes to), when the time is up, then only that file
    suffers.
    """
    pool.close()
    pool = ImageWorkerPool(limits=ImageLimits(timeout_seconds=0.5))
    run(pool, tmp_path, encode_image(make_photo()))
    hanging = tmp_path / "pipe"
    os.mkfifo(hanging)
    try:
        result = pool.compress(hanging, tmp_path / "out", tmp_path / "small", OPTIONS)
        assert (result.outcome, result.reason) == ("unmodified", "time_limit")
        assert run(pool, tmp_path, encode_image(make_photo())).outcome == "compressed"
    finally:
        pool.close()


def test_a_child_that_dies_is_replaced(pool: ImageWorkerPool, tmp_path: Path) -> None:
    run(pool, tmp_path, encode_image(make_photo()))
    victim = children()[0]
    victim.send_signal(signal.SIGSEGV)
    os.waitid(os.P_PID, victim.pid, os.WEXITED | os.WNOWAIT)

    assert run(pool, tmp_path, encode_image(make_photo())).outcome == "compressed"


@pytest.mark.parametrize("deaths", [1, 2])
def test_an_image_is_tried_twice_before_it_is_blamed_for_a_death(deaths: int, tmp_path: Path) -> None:
    pool = ImageWorkerPool(limits=ImageLimits(timeout_seconds=5))
    run(pool, tmp_path, encode_image(make_photo()))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    killer = threading.Thread(target=kill_then_feed, args=(pipe, deaths))
    killer.start()
    try:
        result = pool.compress(pipe, tmp_path / "out", tmp_path / "small", OPTIONS)
        # A pipe cannot be read as an image, but the child that says so has survived it.
        expected = "format_not_allowed" if deaths == 1 else "worker_crashed"
        assert (result.outcome, result.reason) == ("unreadable", expected)
    finally:
        killer.join()
        pool.close()


def kill_then_feed(pipe: Path, deaths: int) -> None:
    """Waits until a child reads from the pipe and kills it there, `deaths` times; then lets one read to the
    end.
    """
    for _ in range(deaths):
        with pipe.open("wb"):
            child = children()[0]
            child.send_signal(signal.SIGSEGV)
            while psutil.pid_exists(child.pid):
                time.sleep(0.01)
    if deaths == 1:
        pipe.open("wb").close()


def test_the_child_finds_no_secrets_in_its_environment(
    pool: ImageWorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    run(pool, tmp_path, encode_image(make_photo()))

    environment = children()[0].environ()

    assert "very secret" not in json.dumps(environment)
    unknown = {name for name in environment if not name.startswith(("PYTHON", "MALLOC_", "LC_"))}
    assert unknown == set()


def test_two_workers_work_at_the_same_time(tmp_path: Path) -> None:
    pool = ImageWorkerPool(workers=2)
    results: list[ImageResult] = []

    def work(index: int) -> None:
        folder = tmp_path / str(index)
        folder.mkdir()
        results.append(run(pool, folder, encode_image(make_photo(600, 400, seed=index))))

    try:
        threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [result.outcome for result in results] == ["compressed"] * 6
        assert len(children()) == 2
    finally:
        pool.close()


def test_nothing_is_left_running_after_close(pool: ImageWorkerPool, tmp_path: Path) -> None:
    run(pool, tmp_path, encode_image(make_photo()))
    pool.close()

    assert children() == []


def test_warming_starts_the_child_before_the_first_image(pool: ImageWorkerPool) -> None:
    pool.start_one()

    assert len(children()) == 1


def test_garbage_on_the_pipe_counts_as_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chatter = tmp_path / "chatter.py"
    chatter.write_text("import sys\nfor line in sys.stdin:\n    print('not json', flush=True)\n")
    real = subprocess.Popen

    def start(arguments: list[str], **options: object) -> subprocess.Popen[bytes]:
        return real([sys.executable, "-c", "print('{}', flush=True);" + chatter.read_text()], **options)  # type: ignore[call-overload, no-any-return] # Popen's overloads do not take **object

    monkeypatch.setattr(subprocess, "Popen", start)
    process = ImageWorker(ImageLimits(timeout_seconds=5))
    with pytest.raises(UnreadableImageError) as caught:
        process.request(tmp_path, tmp_path, tmp_path, OPTIONS)

    assert caught.value.reason == "worker_crashed"
