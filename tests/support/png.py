"""Build PNG and APNG files from samples, of any kind of pixels."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.images.containers.png import SIGNATURE, build_chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
BLEND_SOURCE, BLEND_OVER = 0, 1
DISPOSE_NONE, DISPOSE_BACKGROUND, DISPOSE_PREVIOUS = 0, 1, 2

type Rows = Sequence[Sequence[int]]
"""Samples, channel by channel, of each row."""


@dataclass(frozen=True)
class ApngFrame:
    rows: Rows
    x: int = 0
    y: int = 0
    dispose: int = DISPOSE_NONE
    blend: int = BLEND_SOURCE
    delay_ms: int = 80


@dataclass(frozen=True)
class Png:
    """A kind of PNG: bit depth, color type, and the chunks before the pixels (palette, color, …)."""

    depth: int = 8
    color_type: int = RGB
    chunks: tuple[bytes, ...] = ()

    def build(self, rows: Rows) -> bytes:
        body = (*self.chunks, build_chunk(b"IDAT", self._compress(rows)))
        return self._assemble(*self._measure(rows), *body)

    def build_animation(
        self, *frames: ApngFrame, size: tuple[int, int], plays: int = 0, hidden: Rows | None = None
    ) -> bytes:
        """Return an APNG file; `hidden` is a default image that is not a frame."""
        chunks = [build_chunk(b"acTL", struct.pack(">II", len(frames), plays)), *self.chunks]
        if hidden is not None:
            chunks.append(build_chunk(b"IDAT", self._compress(hidden)))
        sequence = 0
        for index, frame in enumerate(frames):
            width, height = self._measure(frame.rows)
            control = struct.pack(
                ">IIIIIHHBB",
                sequence,
                width,
                height,
                frame.x,
                frame.y,
                frame.delay_ms,
                1000,
                frame.dispose,
                frame.blend,
            )
            sequence += 1
            chunks.append(build_chunk(b"fcTL", control))
            data = self._compress(frame.rows)
            if index == 0 and hidden is None:
                chunks.append(build_chunk(b"IDAT", data))
            else:
                # In two pieces, as encoders may write it.
                for piece in (data[:5], data[5:]):
                    chunks.append(build_chunk(b"fdAT", struct.pack(">I", sequence) + piece))
                    sequence += 1
        return self._assemble(*size, *chunks)

    def _measure(self, rows: Rows) -> tuple[int, int]:
        channels = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}[self.color_type]
        return len(rows[0]) // channels, len(rows)

    def _compress(self, rows: Rows) -> bytes:
        return zlib.compress(b"".join(b"\0" + self._pack(row) for row in rows))

    def _pack(self, row: Sequence[int]) -> bytes:
        if self.depth == 16:
            return struct.pack(f">{len(row)}H", *row)
        per_byte = 8 // self.depth
        padded = [*row, *[0] * (-len(row) % per_byte)]
        packed = bytearray()
        for start in range(0, len(padded), per_byte):
            byte = 0
            for sample in padded[start : start + per_byte]:
                byte = byte << self.depth | sample
            packed.append(byte)
        return bytes(packed)

    def _assemble(self, width: int, height: int, *chunks: bytes) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, self.depth, self.color_type, 0, 0, 0)
        return SIGNATURE + b"".join((build_chunk(b"IHDR", header), *chunks, build_chunk(b"IEND", b"")))


def fill(width: int, height: int, *pixel: int) -> Rows:
    """Return rows of one color."""
    return [list(pixel) * width] * height


def build_palette(*colors: tuple[int, int, int]) -> bytes:
    return build_chunk(b"PLTE", bytes(value for color in colors for value in color))
