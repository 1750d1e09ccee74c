"""The images that are measured: color photographs in PyPI packages, and other sizes made from them."""

from __future__ import annotations

import random
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
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


@cache
def load_photographs() -> dict[str, Image.Image]:
    """Return RGB images by name."""
    photographs = {}
    for package, path in _PHOTOGRAPHS:
        with files(package).joinpath(path).open("rb") as file, Image.open(file) as image:
            name = path.rpartition("/")[2].partition(".")[0]
            photographs[name] = image.convert("RGB")
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
