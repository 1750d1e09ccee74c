"""A file without its metadata, as parts of the old file and new bytes between them."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_proxy.images.containers import Source


type Part = tuple[int, int] | bytes
"""A range of the old file (start and end offset), or new bytes."""


@dataclass(frozen=True)
class StrippedFile:
    """The parts of the new file in their order, and then bytes written over it (offset and content).

    As parts refer to the old file, that of a large one takes no memory.
    """

    parts: tuple[Part, ...]
    patches: tuple[tuple[int, bytes], ...] = ()

    @property
    def size(self) -> int:
        return sum(len(part) if isinstance(part, bytes) else part[1] - part[0] for part in self.parts)

    def equals(self, source: Source) -> bool:
        """Return whether nothing is removed from this source."""
        if self.size != len(source):
            return False
        position = 0
        for part in self.parts:
            end = position + (len(part) if isinstance(part, bytes) else part[1] - part[0])
            is_same = source[position:end] == part if isinstance(part, bytes) else part[0] == position
            if not is_same:
                return False
            position = end
        return all(source[start : start + len(new)] == new for start, new in self.patches)

    def write(self, source: Source, file: BinaryIO) -> None:
        """Write the new file, made of this source. `file` has to be empty."""
        with memoryview(source) as view:
            for part in self.parts:
                if isinstance(part, bytes):
                    file.write(part)
                else:
                    with view[part[0] : part[1]] as piece:
                        file.write(piece)
        for start, new in self.patches:
            file.seek(start)
            file.write(new)

    def to_bytes(self, source: Source) -> bytes:
        """Return the content of the new file, made of this source."""
        buffer = io.BytesIO()
        self.write(source, buffer)
        return buffer.getvalue()


def calculate_sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
