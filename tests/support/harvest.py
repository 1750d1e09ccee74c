"""Fakes of what a file harvester uses: the fetcher, the bucket and the image compressor."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from replicate_proxy.errors import RetryableError
from replicate_proxy.images.task import ImageOutcome, ImageResult
from replicate_proxy.outputs.fetch import FetchedFile
from replicate_proxy.outputs.file_types import HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from replicate_proxy.images.options import ImageOptions
    from replicate_proxy.net.deadline import Deadline


@dataclass
class FakeBlobStore:
    """Stores files in memory; every write fails while `is_failing`."""

    objects: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: int = 0
    is_failing: bool = False

    def put_file(self, key: str, file: BinaryIO, *, if_none_match: bool = True, **headers: Any) -> bool:
        if self.is_failing:
            raise RetryableError("S3 answered SlowDown")
        if if_none_match and key in self.objects:
            return False
        self.objects[key] = file.read()
        self.headers[key] = headers
        self.writes += 1
        return True


@dataclass
class FakeFileFetcher:
    """Returns or raises what `files` has for the URL; records requests (URL, timeout) and concurrency.

    `copies` are the sizes of the copies that space was reserved for. `on_fetch` is called during each fetch.
    """

    files: Mapping[str, bytes | Exception]
    requests: list[tuple[str, float]] = field(default_factory=list)
    copies: list[int] = field(default_factory=list)
    concurrent: int = 0
    max_concurrent: int = 0
    on_fetch: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def fetch(self, url: str, target: Path, *, max_bytes: int, timeout_seconds: float) -> FetchedFile:
        with self._lock:
            self.requests.append((url, timeout_seconds))
            self.concurrent += 1
            self.max_concurrent = max(self.max_concurrent, self.concurrent)
        try:
            self.on_fetch(url)
            content = self.files[url]
            if isinstance(content, Exception):
                raise content
            target.write_bytes(content)
            return FetchedFile(len(content), hashlib.sha256(content).hexdigest(), content[:HEAD_BYTES])
        finally:
            with self._lock:
                self.concurrent -= 1

    def reserve_copy(self, size: int) -> None:
        self.copies.append(size)

    def discard(self, target: Path, size: int) -> None:
        target.unlink(missing_ok=True)


@dataclass
class FakeImageCompressor:
    """Returns `result` for every image, and writes the files that it announces.

    Without `result` every image is compressed to a few bytes.
    """

    result: ImageResult | None = None

    def compress(
        self, source: Path, output: Path, thumbnail: Path, options: ImageOptions, deadline: Deadline
    ) -> ImageResult:
        if self.result is not None:
            if self.result.thumbnail_bytes:
                thumbnail.write_bytes(b"t" * self.result.thumbnail_bytes)
            if self.result.sha256:
                output.write_bytes(b"o" * self.result.bytes_after)
            return self.result
        content = b"small " + source.read_bytes()[:8]
        output.write_bytes(content)
        thumbnail.write_bytes(b"thumb")
        return ImageResult(
            ImageOutcome.COMPRESSED,
            format="webp",
            width=4,
            height=3,
            bytes_before=source.stat().st_size,
            bytes_after=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            quality=80,
            score=74.5,
            placeholder="LKO2?U%2Tw=w]~RBVZRi};RPxuwH",
            thumbnail_bytes=5,
            text={"seed": "42"},
        )
