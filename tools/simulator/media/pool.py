"""A few distinct files per specification, made once each and handed out in turn."""

import asyncio
from collections import defaultdict

from tools.simulator.media import documents, images
from tools.simulator.media.spec import IMAGE_TYPES, KINDS, Blob, MediaSpec
from tools.simulator.randomness import seeded

_VARIANTS = 8
_VARIANTS_LARGE = 3
_LARGE_PIXELS = 1_500_000


def build(spec: MediaSpec, seed: str) -> Blob:
    """One file; CPU-bound. `corrupt` keeps the first third only. OSError if a format lacks the mode."""
    rng = seeded(seed)
    builder = images.encode if spec.kind in IMAGE_TYPES else documents.BUILDERS[spec.kind]
    body = builder(spec, rng)
    return Blob.of(body[: len(body) // 3] if spec.corrupt else body, KINDS[spec.kind])


class MediaPool:
    """Async access to built files; building happens in a thread, once per variant."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._built: dict[tuple[MediaSpec, int], Blob] = {}
        self._served: dict[MediaSpec, int] = defaultdict(int)
        self._locks: dict[MediaSpec, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def get(self, spec: MediaSpec) -> Blob:
        """The next variant of that specification."""
        turn = self._served[spec]
        self._served[spec] += 1
        variant = turn % (_VARIANTS_LARGE if spec.width * spec.height > _LARGE_PIXELS else _VARIANTS)
        key = (spec, variant)
        if key not in self._built:
            async with self._locks[spec]:
                if key not in self._built:
                    self._built[key] = await asyncio.to_thread(build, spec, f"{self._seed}:{variant}")
        return self._built[key]
