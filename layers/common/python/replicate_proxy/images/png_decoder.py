"""Decode PNG files and APNG animations, each frame by Pillow's decoder, from nothing but the pixel chunks.

Pillow's own reader takes a broken or large metadata chunk for a broken image, ignores transparent colors of
other than 8 bits, and composes animations of palettes and of translucent frames wrongly. Here chunks are
selected before the decoder sees them, and frames are composed as the W3C PNG specification says (third
edition, sections 11.3.1.1 tRNS and 13.12 APNG processing).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageChops, PngImagePlugin

from replicate_proxy.images.color import reduce_gray
from replicate_proxy.images.containers import png

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.images.containers import Source
    from replicate_proxy.images.containers.png import Chunk


_FORMAT: Final = PngImagePlugin.PngImageFile.format
_HEADER_BYTES: Final = 13
_GRAY, _RGB, _PALETTE = 0, 2, 3
# The bit depth of samples of two bytes.
_WIDE: Final = 16
_DEFAULT_DURATION_MS = 100
_DISPOSE_TO_BACKGROUND, _DISPOSE_TO_PREVIOUS = 1, 2
_BLEND_OVER = 1
_SEQUENCE_NUMBER_BYTES = 4
type _Size = tuple[int, int]


@dataclass(frozen=True)
class PngFrame:
    """Where a frame is on the canvas, how it is composed, and the parts of the file with its data."""

    size: _Size
    offset: tuple[int, int]
    duration_ms: int
    dispose: int
    blend: int
    data: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PngFile:
    """The structure of a PNG file: header, palette, transparent color, and the frames that are shown.

    `plays` is how often an animation is played, 0 for ever.
    """

    header: bytes
    palette: bytes
    transparency: bytes
    frames: tuple[PngFrame, ...]
    plays: int

    @property
    def size(self) -> _Size:
        width, height = struct.unpack(">II", self.header[:8])
        return width, height

    @property
    def bit_depth(self) -> int:
        return self.header[8]

    @property
    def color_type(self) -> int:
        return self.header[9]


def read_png(source: Source) -> PngFile:
    """Return the structure. The default image of an animation that is no frame of it is left out.

    Raises UnknownStructureError, and ValueError for a file without header or pixels.
    """
    reader = _PngReader(source)
    for chunk in png.read_chunks(source):
        reader.read(chunk)
    return reader.build()


class _PngReader:
    """Collects what the chunks of a file say."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._bodies: dict[bytes, bytes] = {}
        self._default_image: list[tuple[int, int]] = []
        self._frames: list[tuple[bytes, list[tuple[int, int]]]] = []

    def read(self, chunk: Chunk) -> None:
        match chunk.name:
            case b"IHDR" | b"PLTE" | b"tRNS":
                if chunk.name != b"tRNS" and not chunk.has_valid_checksum(self._source):
                    raise ValueError("a wrong checksum")
                self._bodies.setdefault(chunk.name, chunk.read(self._source))
            case b"acTL" if not self._default_image:
                self._bodies.setdefault(b"acTL", chunk.read(self._source))
            case b"fcTL" if b"acTL" in self._bodies:
                self._frames.append((chunk.read(self._source), []))
            case b"IDAT":
                self._default_image.append((chunk.body, chunk.body_end))
                if len(self._frames) == 1:
                    self._frames[0][1].append((chunk.body, chunk.body_end))
            case b"fdAT" if self._frames:
                self._frames[-1][1].append((chunk.body + _SEQUENCE_NUMBER_BYTES, chunk.body_end))

    def build(self) -> PngFile:
        header = self._bodies.get(b"IHDR", b"")
        if len(header) < _HEADER_BYTES or not self._default_image:
            raise ValueError("no header or no pixels")
        size = struct.unpack(">II", header[:8])
        frames = tuple(_parse_frame(control, data, size) for control, data in self._frames if data)
        plays = 0
        if b"acTL" in self._bodies:
            frame_count, plays = struct.unpack_from(">II", self._bodies[b"acTL"])
            frames = frames[:frame_count]
        if not frames:
            frames = (PngFrame(size, (0, 0), 0, 0, 0, tuple(self._default_image)),)
        return PngFile(header, self._bodies.get(b"PLTE", b""), self._bodies.get(b"tRNS", b""), frames, plays)


def _parse_frame(control: bytes, data: list[tuple[int, int]], canvas: _Size) -> PngFrame:
    """Parse a frame control chunk. Raises ValueError for a frame that is not on the canvas, struct.error."""
    width, height, x, y, numerator, denominator, dispose, blend = struct.unpack(">4x4IHHBB", control[:26])
    if not width or not height or x + width > canvas[0] or y + height > canvas[1]:
        raise ValueError("a frame outside of the canvas")
    duration_ms = round(1000 * numerator / (denominator or 100)) or _DEFAULT_DURATION_MS
    return PngFrame((width, height), (x, y), duration_ms, dispose, blend, tuple(data))


def compose_frames(source: Source, file: PngFile) -> Iterator[tuple[Image.Image, int]]:
    """Yield each frame of an animation as it is shown (RGBA), and its duration in milliseconds.

    The image is changed when the next one is asked for. Raises what Pillow's decoder does.
    """
    canvas = Image.new("RGBA", file.size)
    for index, frame in enumerate(file.frames):
        dispose = frame.dispose
        if dispose == _DISPOSE_TO_PREVIOUS and index == 0:
            dispose = _DISPOSE_TO_BACKGROUND
        previous = canvas.copy() if dispose == _DISPOSE_TO_PREVIOUS else None
        pixels = decode_frame(source, file, frame)
        pixels = pixels if pixels.mode == "RGBA" else pixels.convert("RGBA")
        if frame.blend == _BLEND_OVER:
            canvas.alpha_composite(pixels, frame.offset)
        else:
            canvas.paste(pixels, frame.offset)
        yield canvas, frame.duration_ms
        if previous is not None:
            canvas = previous
        elif dispose == _DISPOSE_TO_BACKGROUND:
            canvas.paste(Image.new("RGBA", frame.size), frame.offset)


def decode_frame(source: Source, file: PngFile, frame: PngFrame) -> Image.Image:
    """Decode one frame by itself, with its transparency. Raises what Pillow's decoder does."""
    image = _decode(source, file, frame)
    if file.color_type not in {_GRAY, _RGB} or not file.transparency:
        return image
    alpha = ImageChops.invert(_find_transparent(image, source, file, frame))
    if file.color_type == _GRAY:
        image = reduce_gray(image)
    image.putalpha(alpha)
    return image


def _decode(source: Source, file: PngFile, frame: PngFrame, *, rawmode: str | None = None) -> Image.Image:
    parts = [png.SIGNATURE, png.build_chunk(b"IHDR", struct.pack(">II", *frame.size) + file.header[8:])]
    if file.color_type == _PALETTE:
        parts.append(png.build_chunk(b"PLTE", file.palette))
        if file.transparency:
            parts.append(png.build_chunk(b"tRNS", file.transparency))
    parts.extend(png.build_chunk(b"IDAT", source[start:end]) for start, end in frame.data)
    parts.append(png.build_chunk(b"IEND", b""))
    content = b"".join(parts)
    # Large images need the memory.
    parts.clear()
    image = Image.open(io.BytesIO(content), formats=(_FORMAT,))
    if rawmode:
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
    image.load()
    return image


def _find_transparent(image: Image.Image, source: Source, file: PngFile, frame: PngFrame) -> Image.Image:
    """Return a mask, 255 where a pixel has the transparent color in the file's full bit depth."""
    count = 1 if file.color_type == _GRAY else 3
    samples = struct.unpack(f">{count}H", file.transparency[: 2 * count])
    max_sample = (1 << file.bit_depth) - 1
    samples = tuple(sample & max_sample for sample in samples)
    if file.color_type == _GRAY:
        if file.bit_depth == _WIDE:
            # Pillow holds a sample as its low and its high byte.
            bytes_of_samples = Image.frombytes("LA", image.size, image.tobytes())
            return _match(bytes_of_samples, (samples[0] & 0xFF, samples[0] >> 8))
        gray = image.convert("L")
        return _match(gray, (samples[0] * 255 // max_sample,))
    if file.bit_depth != _WIDE:
        return _match(image, samples)
    high = _match(image, tuple(sample >> 8 for sample in samples))
    # Read as if its samples were little-endian, the file shows the low bytes of its samples.
    low_bytes = _decode(source, file, frame, rawmode="RGB;16L")
    return ImageChops.multiply(high, _match(low_bytes, tuple(sample & 0xFF for sample in samples)))


def _match(image: Image.Image, samples: tuple[int, ...]) -> Image.Image:
    """Return a mask, 255 where all channels have these values."""
    mask: Image.Image | None = None
    for channel, sample in zip(image.split(), samples, strict=True):
        table = [255 * (value == sample) for value in range(256)]
        matches = channel.point(table)
        mask = matches if mask is None else ImageChops.multiply(mask, matches)
    if mask is None:
        raise ValueError("an image without channels")
    return mask
