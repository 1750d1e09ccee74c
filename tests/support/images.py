"""Test images made from a seed with Pillow alone, the same pixels on every machine."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pipeline import process_image
from replicate_proxy.images.stripping.strip import strip_metadata
from replicate_proxy.images.task import ImageLimits, ImageTask

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_proxy.images.task import ImageResult

SECRET = b"geo:52.52,13.40"
"""A text that tests put into metadata and look for after its removal."""


class Pipeline:
    """Runs the pipeline on file contents, and opens its output and thumbnail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.thumbnail = folder / "thumbnail"

    def run(
        self, source: bytes, options: ImageOptions | None = None, limits: ImageLimits | None = None
    ) -> ImageResult:
        path = write_file(self.folder, source)
        return process_image(
            ImageTask(path, self.output, self.thumbnail, options or ImageOptions(), limits or ImageLimits())
        )

    def open_output(self) -> Image.Image:
        return Image.open(io.BytesIO(self.output.read_bytes()))

    def open_thumbnail(self) -> Image.Image:
        return Image.open(io.BytesIO(self.thumbnail.read_bytes()))


def make_photo(width: int = 160, height: int = 120, *, seed: int = 1, mode: str = "RGB") -> Image.Image:
    """Return soft shapes with some grain, which to an encoder resemble a photograph."""
    random_numbers = random.Random(seed)
    image = Image.new("RGB", (width, height), tuple(random_numbers.choices(range(256), k=3)))
    draw = ImageDraw.Draw(image)
    for _ in range(24):
        x, y = random_numbers.randrange(width), random_numbers.randrange(height)
        radius = random_numbers.randrange(4, max(5, width // 3))
        color = tuple(random_numbers.choices(range(256), k=3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    image = image.filter(ImageFilter.GaussianBlur(2))
    grain = Image.frombytes("L", (width, height), random_numbers.randbytes(width * height))
    image = Image.blend(image, Image.merge("RGB", (grain, grain, grain)), 0.04)
    if mode in {"RGBA", "LA"}:
        image.putalpha(Image.linear_gradient("L").resize((width, height)))
    return image.convert(mode)


def make_text(
    color: tuple[int, int, int], ground: tuple[int, int, int], *, size: tuple[int, int] = (320, 200)
) -> Image.Image:
    """Return lines of small text, whose fine detail is in the color if both are equally bright."""
    image = Image.new("RGB", size, ground)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(14)
    for top in range(2, size[1] - 14, 18):
        draw.text((2, top), "saturated words on colored ground " * 9, fill=color, font=font)
    return image


def encode_image(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:  # noqa: A002 - Pillow's own name
    """Return the image file with Pillow's format and options."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def make_animation(
    count: int = 4,
    format: str = "GIF",  # noqa: A002 - Pillow's own name
    *,
    size: tuple[int, int] = (64, 48),
    **options: Any,
) -> bytes:
    """Return an animation file of different frames, 80 ms each, that loops forever."""
    photos = [make_photo(*size, seed=seed) for seed in range(count)]
    animation = {"save_all": True, "append_images": photos[1:], "duration": 80, "loop": 0}
    return encode_image(photos[0], format, **animation, **options)


def decode_frames(content: bytes) -> list[tuple[str, bytes, object]]:
    """Return each frame's mode and pixels, and its duration, loop count and size."""
    with Image.open(io.BytesIO(content)) as image:
        frames: list[tuple[str, bytes, object]] = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            image.load()
            timing = (image.info.get("duration"), image.info.get("loop"), image.size)
            frames.append((image.mode, image.convert("RGBA").tobytes(), timing))
        return frames


def strip(content: bytes, format_name: str, exif: bytes = b"") -> bytes | None:
    """Return the file without its metadata, None for a structure that is not known."""
    stripped = strip_metadata(content, format_name, exif=exif)
    return None if stripped is None else stripped.to_bytes(content)


def strip_and_check(content: bytes, format_name: str, exif: bytes = b"") -> bytes:
    """Strip the file; check that the frames are the same, SECRET is removed and the file is not longer."""
    stripped = strip(content, format_name, exif)
    assert stripped is not None
    assert decode_frames(stripped) == decode_frames(content)
    assert SECRET not in stripped
    assert len(stripped) <= len(content)
    return stripped


def write_file(folder: Path, content: bytes, name: str = "source") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path
