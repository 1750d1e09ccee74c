"""Pictures that compress like photographs: soft clouds of colour, hard-edged shapes, film grain."""

from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

_GRAIN = 5  # amplitude in levels of 256: a 1024 x 1024 PNG then weighs about 1.7 MB, a WebP about a tenth
_TILE = 1024


def paint(width: int, height: int, rng: Random) -> Image.Image:
    """An RGB picture; the same generator state gives the same picture."""
    picture = _clouds(width, height, rng)
    _shapes(picture, rng)
    picture = picture.filter(ImageFilter.GaussianBlur(0.6))
    return ImageChops.add(picture, _grain(width, height, rng), scale=1, offset=-_GRAIN)


def _clouds(width: int, height: int, rng: Random) -> Image.Image:
    picture = Image.new("RGB", (width, height), tuple(rng.randrange(40, 216) for _ in range(3)))
    for cells, share in ((3, 0.6), (9, 0.35), (40, 0.15)):
        layer = Image.frombytes("RGB", (cells, cells), rng.randbytes(cells * cells * 3))
        picture = Image.blend(picture, layer.resize((width, height), Image.Resampling.BICUBIC), share)
    return picture


def _shapes(picture: Image.Image, rng: Random) -> None:
    draw = ImageDraw.Draw(picture, "RGBA")
    width, height = picture.size
    for _ in range(24):
        x, y = rng.randrange(width), rng.randrange(height)
        w, h = rng.randrange(width // 4 + 2), rng.randrange(height // 4 + 2)
        colour = (rng.randrange(256), rng.randrange(256), rng.randrange(256), rng.randrange(40, 160))
        rng.choice((draw.ellipse, draw.rectangle))((x, y, x + w, y + h), fill=colour)
        draw.line((x, y, rng.randrange(width), rng.randrange(height)), fill=colour, width=rng.randrange(1, 5))


def _grain(width: int, height: int, rng: Random) -> Image.Image:
    side = (min(width, _TILE), min(height, _TILE))
    levels = [_GRAIN * 2 * level // 255 for level in range(256)]
    noise = rng.randbytes(side[0] * side[1] * 3)
    tile = Image.frombytes("RGB", side, noise).point(levels * 3)
    if side == (width, height):
        return tile
    grain = Image.new("RGB", (width, height))
    for x in range(0, width, _TILE):
        for y in range(0, height, _TILE):
            grain.paste(tile, (x, y))
    return grain
