"""Raster formats, with the odd modes, orientations and animations that real models put out."""

from io import BytesIO
from random import Random
from typing import Any

from PIL import Image

from tools.simulator.media.painting import paint
from tools.simulator.media.spec import MediaSpec

_ORIENTATION_TAG = 0x0112  # EXIF 2.3, table 4
_FORMATS = {"jpg": "JPEG"}


def encode(spec: MediaSpec, rng: Random) -> bytes:
    """The image file; several frames make an animation where the format has them."""
    frames = [_frame(spec, rng) for _ in range(max(1, spec.frames))]
    options: dict[str, Any] = {}
    if len(frames) > 1:
        options |= {"save_all": True, "append_images": frames[1:], "duration": 120, "loop": 0}
    if spec.kind in ("jpg", "jpeg", "webp"):
        options["quality"] = spec.quality
    if spec.kind == "png":
        options["compress_level"] = 4
    if spec.orientation is not None:
        exif = Image.Exif()
        exif[_ORIENTATION_TAG] = spec.orientation
        options["exif"] = exif
    target = BytesIO()
    frames[0].save(target, _FORMATS.get(spec.kind, spec.kind.upper()), **options)
    return target.getvalue()


def _frame(spec: MediaSpec, rng: Random) -> Image.Image:
    picture = paint(spec.width, spec.height, rng)
    if spec.mode == "RGB":
        return picture
    if spec.mode == "RGBA":
        picture.putalpha(Image.radial_gradient("L").resize(picture.size))
        return picture
    if spec.mode == "I;16":
        wide = picture.convert("L").convert("I").point(lambda level: level * 257)
        return wide.convert("I;16")
    return picture.convert(spec.mode)
