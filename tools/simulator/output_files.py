"""Output files of predictions: generated, published under unguessable URLs, removed with their prediction.

`MediaPool` generates a few variants of each kind of file and reuses them, so that thousands of predictions
cost little processor time. `OutputFiles` publishes them.
"""

import asyncio
import base64
import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tools.simulator.media.documents import DOCUMENT_GENERATORS
from tools.simulator.media.images import generate_image
from tools.simulator.media.spec import CONTENT_TYPES, IMAGE_CONTENT_TYPES, MediaSpec, OutputFile
from tools.simulator.predictions import Prediction
from tools.simulator.randomness import create_seeded_random, generate_output_folder
from tools.simulator.settings import LaunchOptions

_VARIANTS = 8
_VARIANTS_OF_LARGE_FILES = 3
_LARGE_PIXELS = 1_500_000
_MAX_INLINE_BYTES = 5_000_000  # larger files stay URLs in sync mode


@dataclass(frozen=True, slots=True)
class FileContent:
    """The bytes of a file. `etag` is their MD5 in hex, as Google Cloud Storage computes it."""

    body: bytes
    content_type: str
    etag: str


def generate_content(spec: MediaSpec, seed: str) -> FileContent:
    """Generate one file; CPU-bound. Raises OSError if the format does not support the mode."""
    rng = create_seeded_random(seed)
    generate = generate_image if spec.kind in IMAGE_CONTENT_TYPES else DOCUMENT_GENERATORS[spec.kind]
    body = generate(spec, rng)
    if spec.corrupt:
        body = body[: len(body) // 3]
    etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return FileContent(body, CONTENT_TYPES[spec.kind], etag)


def build_data_uri(content: FileContent) -> str:
    """Return the bytes as a base64 data: URI (RFC 2397)."""
    media_type = content.content_type.split(";")[0]
    return f"data:{media_type};base64,{base64.b64encode(content.body).decode()}"


class MediaPool:
    """A few variants of each specification, generated once each in a thread and handed out in turn."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._generated: dict[tuple[MediaSpec, int], FileContent] = {}
        self._requests: dict[MediaSpec, int] = defaultdict(int)
        self._locks: dict[MediaSpec, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, spec: MediaSpec) -> FileContent:
        """Return the next variant of that specification."""
        is_large = spec.width * spec.height > _LARGE_PIXELS
        variant = self._requests[spec] % (_VARIANTS_OF_LARGE_FILES if is_large else _VARIANTS)
        self._requests[spec] += 1
        key = (spec, variant)
        if key not in self._generated:
            async with self._locks[spec]:
                if key not in self._generated:
                    seed = f"{self._seed}:{variant}"
                    self._generated[key] = await asyncio.to_thread(generate_content, spec, seed)
        return self._generated[key]


@dataclass(slots=True)
class _Publication:
    """One output whose files are being published."""

    prediction: Prediction
    folder: str
    file_count: int = 0


class OutputFiles:
    """The published files by URL path."""

    def __init__(self, launch: LaunchOptions, pool: MediaPool) -> None:
        self._launch = launch
        self._pool = pool
        self._contents: dict[str, FileContent] = {}

    async def publish(self, output: Any, prediction: Prediction) -> Any:
        """Return the output as JSON, with every OutputFile replaced by its URL or data: URI."""
        return await self._replace_files(output, _Publication(prediction, generate_output_folder()))

    def get(self, path: str) -> FileContent | None:
        """Return the file at `/delivery/…` or `/third-party/…`."""
        return self._contents.get(path)

    def remove(self, paths: list[str]) -> None:
        """Remove the files at these paths."""
        for path in paths:
            self._contents.pop(path, None)

    def clear(self) -> None:
        """Remove every file."""
        self._contents.clear()

    def replace_with_data_uris(self, output: Any) -> Any:
        """Return the output with URLs of small files replaced by data: URIs, as sync mode may respond."""
        if isinstance(output, dict):
            return {key: self.replace_with_data_uris(value) for key, value in output.items()}
        if isinstance(output, list):
            return [self.replace_with_data_uris(value) for value in output]
        if isinstance(output, str) and output.startswith(f"{self._launch.public_url}/delivery/"):
            content = self._contents.get(output.removeprefix(self._launch.public_url))
            if content and len(content.body) < _MAX_INLINE_BYTES:
                return build_data_uri(content)
        return output

    async def _replace_files(self, value: Any, publication: _Publication) -> Any:
        if isinstance(value, OutputFile):
            return await self._publish_file(value, publication)
        if isinstance(value, dict):
            return {key: await self._replace_files(item, publication) for key, item in value.items()}
        if isinstance(value, list):
            return [await self._replace_files(item, publication) for item in value]
        return value

    async def _publish_file(self, file: OutputFile, publication: _Publication) -> str:
        content = await self._pool.get(file.media)
        if file.content_type:
            content = FileContent(content.body, file.content_type, content.etag)
        if file.origin == "data":
            return build_data_uri(content)
        index = publication.file_count
        publication.file_count += 1
        name = file.name or f"out-{index}.{file.media.kind}"
        path = f"/{file.origin}/{publication.folder}/{index}/{name}"
        self._contents[path] = content
        if file.origin == "third-party":
            # Not listed at the prediction: another host does not remove a file with Replicate's data.
            return self._launch.third_party_url + path
        publication.prediction.file_paths.append(path)
        return self._launch.public_url + path
