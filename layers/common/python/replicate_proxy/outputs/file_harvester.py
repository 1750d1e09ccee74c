"""Harvest one file: fetch it, detect its type, compress it if it is an image, and store it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from replicate_proxy.errors import RetryableError
from replicate_proxy.images.task import CompressionDeferredError, ImageOutcome
from replicate_proxy.observability import Metric, logger, measure_seconds
from replicate_proxy.outputs.fetch import FetchDeferredError, PermanentFetchError, TransientFetchError
from replicate_proxy.outputs.file_types import JSON, TEXT, FileType, detect_file_type
from replicate_proxy.outputs.records import FileOutcome, FileRecord
from replicate_proxy.outputs.references import is_data_uri
from replicate_proxy.outputs.storage import build_base_name, choose_extension

if TYPE_CHECKING:
    from replicate_proxy.images.options import ImageOptions
    from replicate_proxy.images.task import ImageResult
    from replicate_proxy.net.deadline import Deadline
    from replicate_proxy.outputs.fetch import FetchedFile, FileFetcher
    from replicate_proxy.outputs.references import FileReference
    from replicate_proxy.outputs.settings import HarvestSettings
    from replicate_proxy.outputs.storage import ObjectLocation, OutputFileStore


_COMPRESSIBLE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/avif", "image/gif"})
_EXTENSIONS = {"webp": "webp", "avif": "avif", "jpeg": "jpg", "png": "png", "gif": "gif"}
_BINARY_TYPE = "application/octet-stream"


class ImageCompressor(Protocol):
    """Implemented by `images.pool.ImageWorkerPool`."""

    def compress(
        self, source: Path, output: Path, thumbnail: Path, options: ImageOptions, deadline: Deadline
    ) -> ImageResult: ...


class FileHarvester:
    """Harvests single files; one instance serves all threads.

    `folder` is where files are kept until they are stored, by default the temporary directory.
    """

    def __init__(
        self,
        *,
        fetcher: FileFetcher,
        store: OutputFileStore,
        compressor: ImageCompressor,
        settings: HarvestSettings,
        folder: Path | None = None,
    ) -> None:
        self._folder = folder
        self._fetcher = fetcher
        self._store = store
        self._compressor = compressor
        self._settings = settings

    def harvest(
        self,
        reference: FileReference,
        location: ObjectLocation,
        options: ImageOptions,
        *,
        timeout_seconds: float,
        image_deadline: Deadline,
    ) -> FileRecord:
        """Return the file's record, also if it could not be stored.

        `timeout_seconds` bounds the download, `image_deadline` the compression. Raises only
        FetchDeferredError, also if the download was too slow for a timeout that is shorter than that of the
        settings, or if the deadline does not leave the time for the image.
        """
        try:
            with tempfile.TemporaryDirectory(dir=self._folder) as folder:
                download = self._fetch(reference, location, Path(folder), timeout_seconds)
                try:
                    return self._store_download(download, options, image_deadline)
                finally:
                    self._fetcher.discard(download.source, download.fetched.size)
        except PermanentFetchError as error:
            return _build_failure_record(reference, error.reason)
        except TransientFetchError as error:
            if error.reason == "too_slow" and timeout_seconds < self._settings.fetch_timeout_seconds:
                raise FetchDeferredError("no time left for this file") from error
            return _build_failure_record(reference, error.reason, retryable=True)
        except FetchDeferredError:
            raise
        except CompressionDeferredError as error:
            raise FetchDeferredError("no time left for this image") from error
        except RetryableError:
            return _build_failure_record(reference, "store_failed", retryable=True)
        except Exception as error:  # noqa: BLE001 - one file must not end the harvest of the others
            # The message may hold the URL.
            logger.error("file not harvested", reason=type(error).__name__)
            return _build_failure_record(reference, "internal_error", retryable=True)

    def store_output(self, output: Any, location: ObjectLocation) -> FileRecord:
        """Store a whole output as a file: a string as text, all else as JSON. Raises RetryableError."""
        is_text = isinstance(output, str)
        file_type = TEXT if is_text else JSON
        content = (output if is_text else json.dumps(output, ensure_ascii=False)).encode()
        sha256 = hashlib.sha256(content).hexdigest()
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            file = Path(folder) / "output"
            file.write_bytes(content)
            stored = self._store.put(
                "outputs",
                location,
                file,
                name=f"output.{file_type.extension}",
                content_type=file_type.content_type,
                is_inline=False,
                sha256=sha256,
            )
        return FileRecord(
            path=location.path,
            outcome=FileOutcome.STORED,
            url=stored.url,
            reason="output_too_large",
            kind=file_type.kind,
            bytes_before=len(content),
            bytes_after=len(content),
            format=file_type.format,
            content_type=file_type.content_type,
            sha256=sha256,
            source_sha256=sha256,
        )

    def _fetch(
        self, reference: FileReference, location: ObjectLocation, folder: Path, timeout_seconds: float
    ) -> _Download:
        source = folder / "source"
        fetched = self._fetcher.fetch(
            reference.url, source, max_bytes=self._settings.max_file_bytes, timeout_seconds=timeout_seconds
        )
        return _Download(reference, location, source, fetched, detect_file_type(fetched.head))

    def _store_download(
        self, download: _Download, options: ImageOptions, image_deadline: Deadline
    ) -> FileRecord:
        if download.file_type.content_type not in _COMPRESSIBLE_TYPES:
            return self._store_as_is(download, download.file_type)
        # Without its metadata, an image is as large as its source.
        self._fetcher.reserve_copy(download.fetched.size)
        try:
            return self._store_image(download, options, image_deadline)
        finally:
            self._fetcher.discard(download.output, download.fetched.size)

    def _store_as_is(self, download: _Download, file_type: FileType) -> FileRecord:
        """Store the source, to be served as that type."""
        extension = choose_extension(download.reference.url, file_type)
        stored = self._store.put(
            "outputs",
            download.location,
            download.source,
            name=f"{download.base_name}.{extension}",
            content_type=file_type.content_type,
            is_inline=file_type.is_inline,
            sha256=download.fetched.sha256,
        )
        return FileRecord(
            path=download.reference.path,
            outcome=FileOutcome.STORED,
            url=stored.url,
            kind=file_type.kind,
            source_host=_extract_host(download.reference),
            bytes_before=download.fetched.size,
            bytes_after=download.fetched.size,
            reason="unknown_encoding" if download.fetched.is_encoded else "",
            format=file_type.format,
            content_type=file_type.content_type,
            sha256=download.fetched.sha256,
            source_sha256=download.fetched.sha256,
        )

    def _store_image(self, download: _Download, options: ImageOptions, deadline: Deadline) -> FileRecord:
        output, thumbnail = download.output, download.source.with_name("thumbnail")
        with measure_seconds(Metric.IMAGE_SECONDS):
            result = self._compressor.compress(download.source, output, thumbnail, options, deadline)
        if not result.is_publishable:
            return self._withhold(download)
        # The source itself is stored without a file of the compressor, and a file that is known to be broken
        # as a download: a browser may take it for something else.
        file_type = download.file_type
        if result.format:
            file_type = FileType(
                "image", _EXTENSIONS[result.format], f"image/{result.format}", is_inline=True
            )
        if result.outcome is ImageOutcome.UNREADABLE:
            file_type = replace(file_type, content_type=_BINARY_TYPE, is_inline=False)
        with ThreadPoolExecutor(2) as threads:  # All three wait for S3.
            keeps_original = self._settings.keep_originals and bool(result.sha256)
            original = threads.submit(self._store_original, download) if keeps_original else None
            shown = (
                threads.submit(self._store_thumbnail, download, thumbnail) if result.thumbnail_bytes else None
            )
            record = self._store_output(download, output, result, file_type)
        return replace(
            record,
            original_key=original.result() if original else None,
            thumbnail_url=shown.result() if shown else None,
            outcome=FileOutcome(result.outcome),
            reason=result.reason,
            width=result.width or None,
            height=result.height or None,
            quality=result.quality,
            score=result.score,
            placeholder=result.placeholder,
            text=result.text,
        )

    def _store_output(
        self, download: _Download, output: Path, result: ImageResult, file_type: FileType
    ) -> FileRecord:
        """Store the output file of the image compressor, or the source if there is none."""
        if not result.sha256:
            return replace(self._store_as_is(download, file_type), kind="image")
        stored = self._store.put(
            "outputs",
            download.location,
            output,
            name=f"{download.base_name}.{file_type.extension}",
            content_type=file_type.content_type,
            is_inline=file_type.is_inline,
            sha256=result.sha256,
        )
        return FileRecord(
            path=download.reference.path,
            outcome=FileOutcome(result.outcome),
            url=stored.url,
            kind="image",
            source_host=_extract_host(download.reference),
            bytes_before=download.fetched.size,
            bytes_after=result.bytes_after,
            format=file_type.format,
            content_type=file_type.content_type,
            sha256=result.sha256,
            source_sha256=download.fetched.sha256,
        )

    def _store_thumbnail(self, download: _Download, thumbnail: Path) -> str:
        stored = self._store.put(
            "thumbs",
            download.location,
            thumbnail,
            name=f"{download.base_name}.webp",
            content_type="image/webp",
            is_inline=True,
            sha256=_calculate_sha256(thumbnail),
        )
        return stored.url

    def _withhold(self, download: _Download) -> FileRecord:
        """Store the source where it is not public, also if originals are not kept: it is the only copy."""
        record = _build_failure_record(download.reference, "metadata_not_removed")
        return replace(
            record,
            kind="image",
            bytes_before=download.fetched.size,
            source_sha256=download.fetched.sha256,
            original_key=self._store_original(download),
        )

    def _store_original(self, download: _Download) -> str:
        stored = self._store.put(
            "originals",
            download.location,
            download.source,
            name=f"{download.base_name}.{download.file_type.extension}",
            content_type=download.file_type.content_type,
            is_inline=False,
            sha256=download.fetched.sha256,
        )
        return stored.key


@dataclass(frozen=True)
class _Download:
    """A fetched file, on disk at `source`."""

    reference: FileReference
    location: ObjectLocation
    source: Path
    fetched: FetchedFile
    file_type: FileType

    @property
    def output(self) -> Path:
        """Return where the image compressor writes."""
        return self.source.with_name("output")

    @property
    def base_name(self) -> str:
        return build_base_name(self.reference.url)


def _build_failure_record(reference: FileReference, reason: str, *, retryable: bool = False) -> FileRecord:
    return FileRecord(
        path=reference.path,
        outcome=FileOutcome.NOT_STORED,
        url=reference.recorded_url,
        reason=reason,
        source_host=_extract_host(reference),
        retryable=retryable,
    )


def _extract_host(reference: FileReference) -> str:
    if is_data_uri(reference.url):
        return "data:"
    try:
        return urlsplit(reference.url).hostname or ""
    except ValueError:
        return ""


def _calculate_sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
