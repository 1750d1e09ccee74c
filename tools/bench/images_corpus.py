"""The images that are measured: photographs in PyPI packages, generated pictures, and other sizes of them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from PIL import Image

from tools.bench.images_generated import KINDS, generate_picture

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


# Package and file: scikit-image (public domain and CC0, see its data/README), scikit-learn (CC BY),
# matplotlib.
_PHOTOGRAPHS = (
    ("skimage.data", "astronaut.png"),
    ("skimage.data", "chelsea.png"),
    ("skimage.data", "coffee.png"),
    ("skimage.data", "hubble_deep_field.jpg"),
    ("skimage.data", "ihc.png"),
    ("skimage.data", "motorcycle_left.png"),
    ("skimage.data", "motorcycle_right.png"),
    ("skimage.data", "retina.jpg"),
    ("skimage.data", "rocket.jpg"),
    ("sklearn.datasets", "images/china.jpg"),
    ("sklearn.datasets", "images/flower.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
_NOISE_PIXELS = 512
PHOTOGRAPH = "photograph"
# SSIMULACRA2 needs a quarter of a second for so many pixels.
_PICTURE_SIZE = (384, 384)
# What is measured. The estimate of the score was fitted to other seeds, and to other parts of half of the
# photographs.
MEASURED_SEEDS, FITTED_SEEDS = (0, 1), (2, 3, 4, 5)
_MEASURED_PART, _FITTED_PART = (0.3, 0.3), (0.9, 0.8)


@dataclass(frozen=True)
class Picture:
    """A picture of at most 384 × 384 pixels; `kind` is "photograph" or one of `KINDS`."""

    name: str
    kind: str
    image: Image.Image


def load_measured_pictures() -> list[Picture]:
    """Return a part of each photograph, and two generated pictures of each kind."""
    return _build_pictures(load_photographs(), _MEASURED_PART, MEASURED_SEEDS)


def load_fitted_pictures() -> list[Picture]:
    """Return the pictures that the estimate of the score is fitted to."""
    photographs = dict(list(load_photographs().items())[::2])
    return _build_pictures(photographs, _FITTED_PART, FITTED_SEEDS)


def _build_pictures(
    photographs: dict[str, Image.Image], part: tuple[float, float], seeds: Iterable[int]
) -> list[Picture]:
    parts = [Picture(name, PHOTOGRAPH, _crop(image, part)) for name, image in photographs.items()]
    generated = [
        Picture(f"{kind}-{seed}", kind, generate_picture(kind, seed, _PICTURE_SIZE))
        for kind in KINDS
        for seed in seeds
    ]
    return [*parts, *generated]


def _crop(image: Image.Image, part: tuple[float, float]) -> Image.Image:
    """Return the rectangle that begins at that share of the edges which remain."""
    width, height = (min(edge, whole) for edge, whole in zip(_PICTURE_SIZE, image.size, strict=True))
    left, top = round((image.width - width) * part[0]), round((image.height - height) * part[1])
    return image.crop((left, top, left + width, top + height))


@cache
def load_photographs() -> dict[str, Image.Image]:
    """Return RGB images by name."""
    photographs = {}
    for package, path in _PHOTOGRAPHS:
        with files(package).joinpath(path).open("rb") as file, Image.open(file) as image:
            name = path.rpartition("/")[2].partition(".")[0]
            photographs[name] = image.convert("RGB")
            # The pixels are taken as sRGB: no measured tool is to convert them by a profile.
            photographs[name].info.clear()
    return photographs


def write_square(edge: int, folder: Path, kind: str = "PNG", *, name: str = "astronaut") -> Path:
    """Write a photograph cut square, scaled to `edge` and with a camera's grain, unless it exists already."""
    path = folder / f"{name}-{edge}.{kind.lower()}"
    if path.exists():
        return path
    photograph = load_photographs()[name]
    short = min(photograph.size)
    scaled = photograph.crop((0, 0, short, short)).resize((edge, edge), Image.Resampling.LANCZOS)
    random_bytes = random.Random(edge).randbytes(_NOISE_PIXELS * _NOISE_PIXELS)
    noise = Image.frombytes("L", (_NOISE_PIXELS, _NOISE_PIXELS), random_bytes)
    grain = Image.new("L", scaled.size)
    for left in range(0, edge, _NOISE_PIXELS):
        for top in range(0, edge, _NOISE_PIXELS):
            grain.paste(noise, (left, top))
    image = Image.blend(scaled, Image.merge("RGB", (grain, grain, grain)), 0.015)
    image.save(path, kind, **({} if kind == "PNG" else {"quality": 92}))
    return path
