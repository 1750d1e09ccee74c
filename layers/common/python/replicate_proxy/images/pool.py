"""The parent's end of one child process: asks, waits no longer than allowed, kills and starts anew.

As many child processes as images are worked on at once, kept warm between images and invocations.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import subprocess
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.images.task import ImageLimits, ImageOutcome, ImageResult, UnreadableImageError

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_proxy.images.options import ImageOptions


_START_SECONDS = 20.0
# Decoders leave some fragmentation behind; a fresh child now and then costs less than watching for it.
_REQUESTS_PER_CHILD = 500
_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "LC_ALL": "C.UTF-8",
    # glibc: one arena, so that a second thread does not reserve 64 MB; and freed buffers below 32 MB are kept
    # for the next image instead of being given back and faulted in again, which is a seventh of the time at
    # 1024×1024.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
}


class ImageWorker:
    """Used by one thread at a time. `start` returns at once: the child's start overlaps the caller's
    download.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._served = 0

    def start(self) -> None:
        if self._child is not None and self._child.poll() is None and self._served < _REQUESTS_PER_CHILD:
            return
        self.stop()
        self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and module, no shell
            [sys.executable, "-m", "replicate_proxy.images.worker", json.dumps(asdict(self._limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_bare_environment(),
            close_fds=True,
            start_new_session=True,
        )
        self._unread, self._served = b"", 0

    def request(self, source: Path, output: Path, thumbnail: Path, options: ImageOptions) -> dict[str, Any]:
        """The child's reply. Raises UnreadableImageError("time_limit" | "memory_limit" | "worker_crashed"),
        child ended.
        """
        self.start()
        request = {
            "source": str(source),
            "output": str(output),
            "thumbnail": str(thumbnail),
            "options": asdict(options),
        }
        try:
            if self._served == 0:
                self._line(_START_SECONDS)
            self._served += 1
            self._write(json.dumps(request).encode() + b"\n")
            reply: dict[str, Any] = json.loads(self._line(self._limits.timeout_seconds))
        except TimeoutError as error:
            self.stop()
            raise UnreadableImageError("time_limit") from error
        except (OSError, EOFError, ValueError) as error:
            self.stop()
            raise UnreadableImageError("worker_crashed") from error
        if reply.get("reason") == "memory_limit":
            self.stop()
        return reply

    def stop(self) -> None:
        """Kills the child and takes its exit status; nothing to do when there is none."""
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

    def _line(self, seconds: float) -> bytes:
        """One line from the child within `seconds`, read without a thread of its own."""
        if self._child is None or self._child.stdout is None:
            raise EOFError
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError
                piece = os.read(self._child.stdout.fileno(), 65536)
                if not piece:
                    raise EOFError
                self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def _bare_environment() -> dict[str, str]:
    """Where modules are, and how to keep memory; a decoder that is taken over finds no credentials here."""
    return {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry), **_ENVIRONMENT}


class ImageWorkerPool:
    """Threads share it: a `compress` waits until one of the `workers` children is free."""

    def __init__(self, *, workers: int = 1, limits: ImageLimits | None = None) -> None:
        self._limits = limits or ImageLimits()
        self._all = [ImageWorker(self._limits) for _ in range(workers)]
        # A last-in first-out queue keeps the same few children warm. Threads only: Lambda has no /dev/shm.
        self._free: queue.LifoQueue[ImageWorker] = queue.LifoQueue()
        for process in self._all:
            self._free.put(process)

    def start_one(self) -> None:
        """Starts a child without waiting for it."""
        process = self._free.get()
        try:
            process.start()
        finally:
            self._free.put(process)

    def compress(self, source: Path, output: Path, thumbnail: Path, options: ImageOptions) -> ImageResult:
        """The image in `source`; new bytes go to `output`, a thumbnail to `thumbnail`. Never raises for the
        file's sake.

        A child that hangs, dies or runs into its memory wall is replaced, and the result says which it was.
        """
        size = source.stat().st_size
        process = self._free.get()
        try:
            return self._asked(process, source, output, thumbnail, options)
        except UnreadableImageError as error:
            return ImageResult(ImageOutcome.UNREADABLE, bytes_before=size, bytes_after=size).with_failure(
                error.reason
            )
        finally:
            self._free.put(process)

    def _asked(
        self, process: ImageWorker, source: Path, output: Path, thumbnail: Path, options: ImageOptions
    ) -> ImageResult:
        """A child may die of what came before: only a second death is this image's own."""
        try:
            return ImageResult.from_json(process.request(source, output, thumbnail, options))
        except UnreadableImageError as error:
            if error.reason != "worker_crashed":
                raise
            return ImageResult.from_json(process.request(source, output, thumbnail, options))

    def close(self) -> None:
        """Ends every child."""
        for process in self._all:
            process.stop()
