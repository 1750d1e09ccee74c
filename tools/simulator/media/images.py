"""Raster images that compress like photographs, in the modes, orientations and animations of real models."""

from io import BytesIO
from random import Random
from typing import Any

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tools.simulator.media.spec import MediaSpec

_EXIF_ORIENTATION_TAG = 0x0112  # EXIF 2.3, table 4
_PILLOW_FORMATS = {"jpg": "JPEG"}
# Amplitude in levels of 256: a 1024 x 1024 PNG then has about 1.7 MB, a WebP about a tenth of that.
_GRAIN_LEVELS = 5
_GRAIN_TILE_PIXELS = 1024


def generate_image(spec: MediaSpec, rng: Random) -> bytes:
    """Return an image file; several frames make an animation where the format supports it."""
    frames = [_create_frame(spec, rng) for _ in range(max(1, spec.frames))]
    options: dict[str, Any] = {}
    if len(frames) > 1:
        options |= {"save_all": True, "append_images": frames[1:], "duration": 120, "loop": 0}
    if spec.kind in ("jpg", "jpeg", "webp"):
        options["quality"] = spec.quality
    if spec.kind == "png":
        options["compress_level"] = 4
    if spec.orientation is not None:
        exif = Image.Exif()
        exif[_EXIF_ORIENTATION_TAG] = spec.orientation
        options["exif"] = exif
    target = BytesIO()
    frames[0].save(target, _PILLOW_FORMATS.get(spec.kind, spec.kind.upper()), **options)
    return target.getvalue()


def _create_frame(spec: MediaSpec, rng: Random) -> Image.Image:
    picture = _paint_picture(spec.width, spec.height, rng)
    if spec.mode == "RGB":
        return picture
    if spec.mode == "RGBA":
        picture.putalpha(Image.radial_gradient("L").resize(picture.size))
        return picture
    if spec.mode == "I;16":
        wide = picture.convert("L").convert("I").point(lambda level: level * 257)
        return wide.convert("I;16")
    return picture.convert(spec.mode)


def _paint_picture(width: int, height: int, rng: Random) -> Image.Image:
    """Return an RGB picture of soft clouds, hard-edged shapes and film grain."""
    picture = _paint_clouds(width, height, rng)
    _draw_shapes(picture, rng)
    picture = picture.filter(ImageFilter.GaussianBlur(0.6))
    return ImageChops.add(picture, _create_grain(width, height, rng), scale=1, offset=-_GRAIN_LEVELS)


def _paint_clouds(width: int, height: int, rng: Random) -> Image.Image:
    picture = Image.new("RGB", (width, height), tuple(rng.randrange(40, 216) for _ in range(3)))
    for cells, share in ((3, 0.6), (9, 0.35), (40, 0.15)):
        layer = Image.frombytes("RGB", (cells, cells), rng.randbytes(cells * cells * 3))
        picture = Image.blend(picture, layer.resize((width, height), Image.Resampling.BICUBIC), share)
    return picture


def _draw_shapes(picture: Image.Image, rng: Random) -> None:
    draw = ImageDraw.Draw(picture, "RGBA")
    width, height = picture.size
    for _ in range(24):
        x, y = rng.randrange(width), rng.randrange(height)
        w, h = rng.randrange(width // 4 + 2), rng.randrange(height // 4 + 2)
        color = (rng.randrange(256), rng.randrange(256), rng.randrange(256), rng.randrange(40, 160))
        rng.choice((draw.ellipse, draw.rectangle))((x, y, x + w, y + h), fill=color)
        draw.line((x, y, rng.randrange(width), rng.randrange(height)), fill=color, width=rng.randrange(1, 5))


def _create_grain(width: int, height: int, rng: Random) -> Image.Image:
    side = (min(width, _GRAIN_TILE_PIXELS), min(height, _GRAIN_TILE_PIXELS))
    levels = [_GRAIN_LEVELS * 2 * level // 255 for level in range(256)]
    noise = rng.randbytes(side[0] * side[1] * 3)
    tile = Image.frombytes("RGB", side, noise).point(levels * 3)
    if side == (width, height):
        return tile
    grain = Image.new("RGB", (width, height))
    for x in range(0, width, _GRAIN_TILE_PIXELS):
        for y in range(0, height, _GRAIN_TILE_PIXELS):
            grain.paste(tile, (x, y))
    return grain
