"""As many child processes as images are worked on at once, kept warm between images and invocations."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

from replicate_proxy.images.errors import UnreadableImageError
from replicate_proxy.images.limits import ImageLimits
from replicate_proxy.images.process import ImageProcess
from replicate_proxy.images.result import ImageResult

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_proxy.outputs.options import ImageOptions

__all__ = ["ImagePool"]


class ImagePool:
    """Threads share it: a `compress` waits until one of the `workers` children is free."""

    def __init__(self, *, workers: int = 1, limits: ImageLimits | None = None) -> None:
        self._limits = limits or ImageLimits()
        self._all = [ImageProcess(self._limits) for _ in range(workers)]
        # A last-in first-out queue keeps the same few children warm. Threads only: Lambda has no /dev/shm.
        self._free: queue.LifoQueue[ImageProcess] = queue.LifoQueue()
        for process in self._all:
            self._free.put(process)

    def warm(self) -> None:
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
            return ImageResult("unreadable", bytes_before=size, bytes_after=size).failed(error.reason)
        finally:
            self._free.put(process)

    def _asked(
        self, process: ImageProcess, source: Path, output: Path, thumbnail: Path, options: ImageOptions
    ) -> ImageResult:
        """A child may die of what came before: only a second death is this image's own."""
        try:
            return ImageResult.from_json(process.ask(source, output, thumbnail, options))
        except UnreadableImageError as error:
            if error.reason != "worker_crashed":
                raise
            return ImageResult.from_json(process.ask(source, output, thumbnail, options))

    def close(self) -> None:
        """Ends every child."""
        for process in self._all:
            process.stop()
