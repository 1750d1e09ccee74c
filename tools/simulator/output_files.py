"""Output files of predictions: generated, published under unguessable URLs, removed with their prediction.

`MediaPool` generates a few variants of each kind of file and reuses them, so that thousands of predictions
cost little processor time. `OutputFiles` publishes them.
"""

import asyncio
import base64
import hashlib
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
_MAX_INDIVIDUAL_PICTURES = 64
_MAX_INLINE_BYTES = 5_000_000  # larger files stay URLs in sync mode


@dataclass(frozen=True, slots=True)
class FileContent:
    """The bytes of a file. `etag` is their MD5 in hex, as Google Cloud Storage computes it."""

    body: bytes
    content_type: str
    etag: str


def generate_content(spec: MediaSpec, seed: str) -> FileContent:
    """Generate one file; CPU-bound. Raises OSError if the format does not support the mode."""
    rng = create_seeded_random(f"{seed}:{spec.prompt}:{spec.seed}" if spec.is_individual else seed)
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


@dataclass(slots=True)
class GenerationBudget:
    """How many pictures of prompts may be generated: a few at once, then one after each interval.

    It keeps a person's pictures their own, while a load test of thousands of prompts reuses those that exist.
    """

    burst: int = 8
    seconds_per_picture: float = 6.0
    clock: Callable[[], float] = time.monotonic
    _used_at: deque[float] = field(default_factory=deque)

    def take(self) -> bool:
        """Return whether another picture may be generated, and count it."""
        now = self.clock()
        while self._used_at and now - self._used_at[0] >= self.burst * self.seconds_per_picture:
            self._used_at.popleft()
        if len(self._used_at) >= self.burst:
            return False
        self._used_at.append(now)
        return True


class MediaPool:
    """A few variants of each specification, generated once each in a thread and handed out in turn.

    A specification with a prompt or seed has pictures of its own as long as the budget allows.
    """

    def __init__(self, seed: int, budget: GenerationBudget | None = None) -> None:
        self._seed = seed
        self._budget = budget or GenerationBudget()
        self._generated: dict[tuple[MediaSpec, int], FileContent] = {}
        self._requests: dict[MediaSpec, int] = defaultdict(int)
        self._locks: dict[MediaSpec, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, spec: MediaSpec, index: int = 0) -> FileContent:
        """Return the next variant of that specification; with a seed, always the same for the same index."""
        key = self._choose(spec, index)
        if key not in self._generated:
            async with self._locks[key[0]]:
                if key not in self._generated:
                    content = await asyncio.to_thread(generate_content, key[0], f"{self._seed}:{key[1]}")
                    self._generated[key] = content
                    self._forget_old_prompts()
        return self._generated[key]

    def _choose(self, spec: MediaSpec, index: int) -> tuple[MediaSpec, int]:
        """Return the specification and the variant to hand out."""
        if spec.is_individual:
            variant = index if spec.seed is not None else self._requests[spec] % _VARIANTS
            self._requests[spec] += 1
            if (spec, variant) in self._generated or self._budget.take():
                return spec, variant
            spec = replace(spec, prompt="", seed=None)
        is_large = spec.width * spec.height > _LARGE_PIXELS
        variant = self._requests[spec] % (_VARIANTS_OF_LARGE_FILES if is_large else _VARIANTS)
        self._requests[spec] += 1
        return spec, variant

    def _forget_old_prompts(self) -> None:
        individual = [key for key in self._generated if key[0].is_individual]
        for key in individual[:-_MAX_INDIVIDUAL_PICTURES]:
            del self._generated[key]
            self._requests.pop(key[0], None)
            self._locks.pop(key[0], None)


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
        spec = _add_prompt(file.media, publication.prediction)
        content = await self._pool.get(spec, publication.file_count)
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


def _add_prompt(spec: MediaSpec, prediction: Prediction) -> MediaSpec:
    """Return the specification of a picture with the prompt and the seed of the prediction's input."""
    if spec.kind not in IMAGE_CONTENT_TYPES or not isinstance(prediction.input, dict):
        return spec
    prompt, seed = prediction.input.get("prompt"), prediction.input.get("seed")
    return replace(
        spec,
        prompt=prompt if isinstance(prompt, str) else "",
        seed=seed if isinstance(seed, int) else None,
    )
