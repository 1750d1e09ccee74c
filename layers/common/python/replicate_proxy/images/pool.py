"""Run image tasks in child processes (see `worker`) that stay warm between images and invocations."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.images.task import (
    CompressionDeferredError,
    ImageLimits,
    ImageOutcome,
    ImageResult,
    UnreadableImageError,
)
from replicate_proxy.net.deadline import Deadline

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_proxy.images.options import ImageOptions
    from replicate_proxy.images.task import ImageReason


_START_TIMEOUT_SECONDS = 20.0
_MAX_CRASHES = 2
_NO_DEADLINE = Deadline(threading.TIMEOUT_MAX)
# Decoders fragment the memory; starting a new child once in a while is cheaper than watching its memory.
_MAX_TASKS_PER_CHILD = 500
_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "LC_ALL": "C.UTF-8",
    # glibc: a single arena, as each further one reserves 64 MB. Freed buffers below 32 MB are reused for the
    # next image, not returned to the system and faulted in again: a seventh of the time at 1024×1024 pixels.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
}


@dataclass(frozen=True)
class TaskFiles:
    """The files of an `ImageTask`."""

    source: Path
    output: Path
    thumbnail: Path


class ImageWorkerPool:
    """Image workers shared by threads: each task waits for a free worker."""

    def __init__(self, *, workers: int = 1, limits: ImageLimits | None = None) -> None:
        limits = limits or ImageLimits()
        self._workers = [ImageWorker(limits) for _ in range(workers)]
        # Last in, first out keeps the same few children warm. A queue of threads, since Lambda has no
        # /dev/shm.
        self._free: queue.LifoQueue[ImageWorker] = queue.LifoQueue()
        for worker in self._workers:
            self._free.put(worker)

    def start_worker(self) -> None:
        """Start a child without waiting for it."""
        worker = self._free.get()
        try:
            worker.start()
        finally:
            self._free.put(worker)

    def compress(
        self,
        source: Path,
        output: Path,
        thumbnail: Path,
        options: ImageOptions,
        deadline: Deadline = _NO_DEADLINE,
    ) -> ImageResult:
        """Compress the image, and write a thumbnail; see `ImageResult` for what is in the output file.

        The content of the file never makes this raise. A child that exceeds its limits or crashes is
        replaced, and the result's reason says so. Raises CompressionDeferredError if no worker becomes free
        before the deadline, or if it passes before the image has used up its own time.
        """
        try:
            worker = self._free.get(timeout=deadline.remaining_seconds)
        except queue.Empty as error:
            raise CompressionDeferredError("no image worker became free in time") from error
        files = TaskFiles(source, output, thumbnail)
        try:
            return self._compress(worker, files, options, deadline)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """End all children."""
        for worker in self._workers:
            worker.stop()

    def _compress(
        self, worker: ImageWorker, files: TaskFiles, options: ImageOptions, deadline: Deadline
    ) -> ImageResult:
        """Retry a crash once, as an earlier image may have caused it; this image causes a second crash.

        Then another child removes the metadata, for which nothing is decoded.
        """
        size = files.source.stat().st_size
        failure: ImageReason = ""
        for _ in range(_MAX_CRASHES):
            try:
                return worker.run_task(files, options, deadline)
            except UnreadableImageError as error:
                failure = error.reason
            if failure != "worker_crashed":
                break
        try:
            return worker.run_task(files, options, deadline, failure=failure)
        except UnreadableImageError:
            result = ImageResult(ImageOutcome.UNREADABLE, bytes_before=size, bytes_after=size)
            return result.with_failure(failure)


class ImageWorker:
    """One child process, seen from the parent; used by one thread at a time."""

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._task_count = 0

    def start(self) -> None:
        """Start a child unless a usable one is running.

        Does not wait for the child: it starts while the caller downloads the image.
        """
        is_running = self._child is not None and self._child.poll() is None
        if is_running and self._task_count < _MAX_TASKS_PER_CHILD:
            return
        self.stop()
        self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
            [sys.executable, "-m", "replicate_proxy.images.worker", json.dumps(asdict(self._limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_build_environment(),
            close_fds=True,
            start_new_session=True,
        )
        self._unread, self._task_count = b"", 0

    def run_task(
        self,
        files: TaskFiles,
        options: ImageOptions,
        deadline: Deadline = _NO_DEADLINE,
        *,
        failure: ImageReason | None = None,
    ) -> ImageResult:
        """Send a task to the child and return its result; `failure` is that of `ImageTask`.

        Raises UnreadableImageError("time_limit" or "worker_crashed"), or CompressionDeferredError if the
        deadline passes first, after stopping the child.
        """
        if deadline.has_passed:
            raise CompressionDeferredError("no time is left for the image")
        self.start()
        task = {
            "source": str(files.source),
            "output": str(files.output),
            "thumbnail": str(files.thumbnail),
            "options": asdict(options),
            "failure": failure,
        }
        timeout_seconds = self._limits.timeout_seconds
        if failure is not None:
            timeout_seconds = min(timeout_seconds, self._limits.strip_timeout_seconds)
        try:
            if self._task_count == 0:
                self._read_line_before(deadline, _START_TIMEOUT_SECONDS)
            self._task_count += 1
            self._write(json.dumps(task).encode() + b"\n")
            result: dict[str, Any] = json.loads(self._read_line_before(deadline, timeout_seconds))
        except CompressionDeferredError:
            self.stop()
            raise
        except TimeoutError as error:
            self.stop()
            raise UnreadableImageError("time_limit") from error
        except (OSError, EOFError, ValueError) as error:
            self.stop()
            raise UnreadableImageError("worker_crashed") from error
        if result.get("reason") == "memory_limit":
            self.stop()
        return ImageResult.from_json(result)

    def stop(self) -> None:
        """Kill the child, if any, and wait for its end."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        child.wait()

    def _write(self, line: bytes) -> None:
        if self._child is None or self._child.stdin is None:
            raise EOFError
        self._child.stdin.write(line)
        self._child.stdin.flush()

    def _read_line_before(self, deadline: Deadline, timeout_seconds: float) -> bytes:
        """Raise CompressionDeferredError if the deadline leaves less than the timeout, and it passes."""
        remaining_seconds = deadline.remaining_seconds
        try:
            return self._read_line(min(timeout_seconds, remaining_seconds))
        except TimeoutError as error:
            if remaining_seconds < timeout_seconds:
                raise CompressionDeferredError("the image was not done in time") from error
            raise

    def _read_line(self, timeout_seconds: float) -> bytes:
        if self._child is None or self._child.stdout is None:
            raise EOFError
        deadline = time.monotonic() + timeout_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                received = os.read(self._child.stdout.fileno(), 65536)
                if not received:
                    raise EOFError
                self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def _build_environment() -> dict[str, str]:
    """Return module path, library path and memory settings: a compromised decoder finds no credentials."""
    paths = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    if library_path := os.environ.get("LD_LIBRARY_PATH"):
        paths["LD_LIBRARY_PATH"] = library_path  # Lambda's Python finds its libpython by it.
    return {**paths, **_ENVIRONMENT}
