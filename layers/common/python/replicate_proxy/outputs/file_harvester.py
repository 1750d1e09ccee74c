"""One file from its address into the bucket. Whatever happens to it, the job goes on."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from replicate_proxy.errors import RetryableError
from replicate_proxy.images.task import ImageOutcome
from replicate_proxy.outputs.fetch import FileDeferredError, FileUnavailableError, FileUnobtainableError
from replicate_proxy.outputs.file_types import FileType, detect_file_type
from replicate_proxy.outputs.records import FileOutcome, FileRecord
from replicate_proxy.outputs.storage import build_base_name, choose_extension

if TYPE_CHECKING:
    from replicate_proxy.images.options import ImageOptions
    from replicate_proxy.images.task import ImageResult
    from replicate_proxy.outputs.fetch import FetchedFile, FileFetcher
    from replicate_proxy.outputs.references import FileReference
    from replicate_proxy.outputs.settings import HarvestSettings
    from replicate_proxy.outputs.storage import ObjectLocation, OutputFileStore


_COMPRESSIBLE = frozenset({"image/png", "image/jpeg", "image/webp", "image/avif", "image/gif"})
_EXTENSIONS = {"webp": "webp", "avif": "avif", "jpeg": "jpg", "png": "png", "gif": "gif"}
_DOWNLOAD = "application/octet-stream"


class ImageCompressor(Protocol):
    """What `images.pool.ImagePool` offers; a Protocol, so that nothing here asks for Pillow."""

    def compress(self, source: Path, output: Path, thumbnail: Path, options: ImageOptions) -> ImageResult: ...


class FileHarvester:
    """Fetch, look at, compress if it is an image, store. One instance serves all threads of a harvest."""

    def __init__(
        self,
        *,
        fetcher: FileFetcher,
        store: OutputFileStore,
        compressor: ImageCompressor,
        settings: HarvestSettings,
    ) -> None:
        self._fetcher = fetcher
        self._store = store
        self._images = compressor
        self._settings = settings

    def harvest(
        self, ref: FileReference, location: ObjectLocation, options: ImageOptions, *, timeout_seconds: float
    ) -> FileRecord:
        """The file's record; `left` with a reason where it could not be had. Raises DeferredError alone.

        `seconds` bound the download. One cut short by less than the full allowance is deferred, not given up.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="harvest-") as folder:
                return self._harvest(ref, location, options, Path(folder), timeout_seconds)
        except FileUnobtainableError as error:
            return _left(ref, error.reason)
        except FileUnavailableError as error:
            if error.reason == "too_slow" and timeout_seconds < self._settings.fetch_timeout_seconds:
                raise FileDeferredError("no time left for this file") from error
            return _left(ref, error.reason, retry=True)
        except FileDeferredError:
            raise
        except RetryableError:
            return _left(ref, "store_failed", retry=True)

    def _harvest(
        self, ref: FileReference, place: ObjectLocation, options: ImageOptions, folder: Path, seconds: float
    ) -> FileRecord:
        source = folder / "source"
        fetched = self._fetcher.fetch(
            ref.url, source, max_bytes=self._settings.max_file_bytes, timeout_seconds=seconds
        )
        try:
            found = detect_file_type(fetched.head)
            if found.content_type in _COMPRESSIBLE:
                return self._image(ref, place, options, folder, fetched, found)
            return self._as_it_is(ref, place, source, fetched, found)
        finally:
            self._fetcher.discard(source, fetched.size)

    def _as_it_is(
        self, ref: FileReference, place: ObjectLocation, source: Path, fetched: FetchedFile, found: FileType
    ) -> FileRecord:
        ending = choose_extension(ref.url, found)
        stored = self._store.put(
            "outputs",
            place,
            source,
            name=f"{build_base_name(ref.url)}.{ending}",
            content_type=found.content_type,
            is_inline=found.is_inline,
            sha256=fetched.sha256,
        )
        return FileRecord(
            path=ref.path,
            outcome=FileOutcome.STORED,
            url=stored.url,
            kind=found.kind,
            source_host=_host(ref),
            bytes_before=fetched.size,
            bytes_after=fetched.size,
            format=found.extension,
            content_type=found.content_type,
            sha256=fetched.sha256,
            source_sha256=fetched.sha256,
        )

    def _image(
        self,
        ref: FileReference,
        place: ObjectLocation,
        options: ImageOptions,
        folder: Path,
        fetched: FetchedFile,
        found: FileType,
    ) -> FileRecord:
        source, output, thumbnail = folder / "source", folder / "output", folder / "thumbnail"
        result = self._images.compress(source, output, thumbnail, options)
        record = replace(
            self._stored_image(ref, place, source, output, fetched, found, result),
            width=result.width or None,
            height=result.height or None,
            quality=result.quality,
            similarity=result.similarity,
            placeholder=result.placeholder,
            text=result.text,
            reason=result.reason,
        )
        if not result.thumbnail_bytes:
            return record
        small = self._store.put(
            "thumbs",
            place,
            thumbnail,
            name=f"{build_base_name(ref.url)}.webp",
            content_type="image/webp",
            is_inline=True,
            sha256=_digest(thumbnail),
        )
        return replace(record, thumbnail_url=small.url)

    def _stored_image(
        self,
        ref: FileReference,
        place: ObjectLocation,
        source: Path,
        output: Path,
        fetched: FetchedFile,
        found: FileType,
        result: ImageResult,
    ) -> FileRecord:
        stem = build_base_name(ref.url)
        if not result.sha256:
            # What we could not decode may still be something else to a browser: it is served as a download.
            readable = result.outcome is ImageOutcome.UNMODIFIED
            shown = found if readable else replace(found, content_type=_DOWNLOAD, is_inline=False)
            record = self._as_it_is(ref, place, source, fetched, shown)
            return replace(record, outcome=FileOutcome(result.outcome), kind="image")
        ending, content_type = _EXTENSIONS[result.format], f"image/{result.format}"
        stored = self._store.put(
            "outputs",
            place,
            output,
            name=f"{stem}.{ending}",
            content_type=content_type,
            is_inline=True,
            sha256=result.sha256,
        )
        return FileRecord(
            path=ref.path,
            outcome=FileOutcome(result.outcome),
            url=stored.url,
            kind="image",
            source_host=_host(ref),
            bytes_before=fetched.size,
            bytes_after=result.bytes_after,
            format=result.format,
            content_type=content_type,
            sha256=result.sha256,
            source_sha256=fetched.sha256,
            original_key=self._original(ref, place, source, fetched, found),
        )

    def _original(
        self, ref: FileReference, place: ObjectLocation, source: Path, fetched: FetchedFile, found: FileType
    ) -> str | None:
        if not self._settings.keep_originals:
            return None
        return self._store.put(
            "originals",
            place,
            source,
            name=f"{build_base_name(ref.url)}.{found.extension}",
            content_type=found.content_type,
            is_inline=False,
            sha256=fetched.sha256,
        ).key


def _left(ref: FileReference, reason: str, *, retry: bool = False) -> FileRecord:
    return FileRecord(
        path=ref.path,
        outcome=FileOutcome.NOT_STORED,
        url=ref.url,
        reason=reason,
        source_host=_host(ref),
        retryable=retry,
    )


def _host(ref: FileReference) -> str:
    try:
        return "data:" if ref.is_data_uri else (urlsplit(ref.url).hostname or "")
    except ValueError:
        return ""


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
