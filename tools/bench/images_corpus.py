"""The pictures that are measured: colour photographs that PyPI packages ship, and sizes made from them."""

from __future__ import annotations

import random
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


# Package, file: scikit-image (public domain and CC0, see its data/README), scikit-learn (CC BY), matplotlib.
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


@cache
def photographs() -> dict[str, Image.Image]:
    """Name to RGB picture."""
    found = {}
    for package, name in _PHOTOGRAPHS:
        with files(package).joinpath(name).open("rb") as file, Image.open(file) as image:
            found[name.rpartition("/")[2].partition(".")[0]] = image.convert("RGB")
    return found


def square(edge: int, folder: Path, kind: str = "PNG", *, name: str = "astronaut") -> Path:
    """A photograph cut square and scaled to `edge`, with a camera's grain, written once as `kind`."""
    path = folder / f"{name}-{edge}.{kind.lower()}"
    if path.exists():
        return path
    image = photographs()[name]
    short = min(image.size)
    image = image.crop((0, 0, short, short)).resize((edge, edge), Image.Resampling.LANCZOS)
    noise = Image.frombytes("L", (512, 512), random.Random(edge).randbytes(512 * 512))
    grain = Image.new("L", image.size)
    for left in range(0, edge, 512):
        for top in range(0, edge, 512):
            grain.paste(noise, (left, top))
    image = Image.blend(image, Image.merge("RGB", (grain, grain, grain)), 0.015)
    image.save(path, kind, **({} if kind == "PNG" else {"quality": 92}))
    return path
