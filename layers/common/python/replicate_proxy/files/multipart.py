"""Uploads in parts: how a file is divided, and which parts are still missing. No I/O.

S3 accepts 10,000 parts of 5 MiB to 5 GiB, only the last part may be smaller (Amazon S3 User Guide, "Amazon S3
multipart upload limits").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


_MEBIBYTE = 1024 * 1024
_MIN_PART_BYTES = 16 * _MEBIBYTE
# The URLs of all parts are in one response: about 2 kB each.
_MAX_PARTS = 100


@dataclass(frozen=True)
class UploadedPart:
    """A part that the object store has."""

    size_bytes: int
    etag: str


@dataclass(frozen=True)
class MultipartUpload:
    """An upload of `size_bytes` in parts of `part_bytes`; `id` is the object store's. Parts count from 1."""

    id: str
    size_bytes: int
    part_bytes: int

    @classmethod
    def plan(cls, upload_id: str, size_bytes: int) -> MultipartUpload:
        """Divide a file into at most 100 parts, of whole mebibytes except for the last."""
        needed_bytes = -(-size_bytes // _MAX_PARTS)
        rounded_bytes = -(-needed_bytes // _MEBIBYTE) * _MEBIBYTE
        return cls(upload_id, size_bytes, max(_MIN_PART_BYTES, rounded_bytes))

    @property
    def part_sizes(self) -> Mapping[int, int]:
        """The size of each part in bytes, by number."""
        count = -(-self.size_bytes // self.part_bytes)
        last_bytes = self.size_bytes - (count - 1) * self.part_bytes
        return dict.fromkeys(range(1, count), self.part_bytes) | {count: last_bytes}

    def find_missing_parts(self, uploaded: Mapping[int, UploadedPart]) -> Mapping[int, int]:
        """Return the sizes of the parts that are not there or have another size, by number."""
        return {
            number: size_bytes
            for number, size_bytes in self.part_sizes.items()
            if number not in uploaded or uploaded[number].size_bytes != size_bytes
        }
