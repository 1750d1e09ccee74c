"""Raster images that compress like photographs, in the modes, orientations and animations of real models."""

from io import BytesIO
from random import Random
from typing import Any

from PIL import Image, ImageChops, ImageFilter

from tools.simulator.media.scene import draw_caption, paint_scene
from tools.simulator.media.spec import MediaSpec

_EXIF_ORIENTATION_TAG = 0x0112  # EXIF 2.3, table 4
_PILLOW_FORMATS = {"jpg": "JPEG"}
# Amplitude in levels of 256: a 1024 x 1024 PNG then has about 1.7 MB, a WebP about a tenth of that.
_GRAIN_LEVELS = 5
_GRAIN_TILE_PIXELS = 1024
# Cells per side, and the share of the noise in the texture
_TEXTURE_OCTAVES = ((24, 0.1), (96, 0.1), (220, 0.09), (420, 0.07))


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
    picture = _paint_picture(spec, rng)
    if spec.mode == "RGB":
        return picture
    if spec.mode == "RGBA":
        picture.putalpha(Image.radial_gradient("L").resize(picture.size))
        return picture
    if spec.mode == "I;16":
        wide = picture.convert("L").convert("I").point(lambda level: level * 257)
        return wide.convert("I;16")
    return picture.convert(spec.mode)


def _paint_picture(spec: MediaSpec, rng: Random) -> Image.Image:
    """Return an RGB picture: a scene with texture, the prompt as caption, and film grain."""
    picture = paint_scene(spec.width, spec.height, spec.prompt, rng)
    picture = _add_texture(picture, rng)
    draw_caption(picture, spec.prompt)
    picture = picture.filter(ImageFilter.GaussianBlur(0.6))
    grain = _create_grain(spec.width, spec.height, rng)
    return ImageChops.add(picture, grain, scale=1, offset=-_GRAIN_LEVELS)


def _add_texture(picture: Image.Image, rng: Random) -> Image.Image:
    """Add details of all sizes, more of them in the foreground: without them, nothing compresses so well."""
    size = picture.size
    texture = Image.new("L", size, 128)
    for cells, share in _TEXTURE_OCTAVES:
        noise = Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells))
        texture = Image.blend(texture, noise.resize(size, Image.Resampling.BICUBIC), share)
    foreground = (
        Image.linear_gradient("L").resize(size).point([_get_texture_share(level) for level in range(256)])
    )
    texture = Image.composite(texture, Image.new("L", size, 128), foreground)
    return ImageChops.add(picture, Image.merge("RGB", (texture, texture, texture)), scale=1, offset=-128)


def _get_texture_share(level: int) -> int:
    """Return the share of the texture, of 255, at a height: `level` is 0 at the top and 255 at the bottom."""
    return 30 + level * 225 // 255


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
