"""Pictures drawn from a seed, of the kinds that models generate and photographs do not cover.

The same seed gives the same pixels with the same version of Pillow, which brings font and filters.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


type Color = tuple[int, int, int]

_TEXT = (
    "the quick brown fox jumps over a lazy dog while seven wizards pack my box with five dozen liquor jugs"
    " and 1,234.50 of 2026 is (almost) paid"
)
# Drawn larger and scaled down, so that edges are smooth.
_SUPERSAMPLING = 3


def generate_picture(kind: str, seed: int, size: tuple[int, int]) -> Image.Image:
    """Return an RGB picture of one of `KINDS`, or RGBA for "transparent"."""
    return KINDS[kind](random.Random(f"{kind} {seed}"), size)


def _draw_text(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return black paragraphs on white in several sizes."""
    image = Image.new("RGB", size, "white")
    _write_lines(image, numbers, lambda: (numbers.randrange(60),) * 3)
    return image


def _draw_colored_text(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return saturated text on a dark or saturated ground, as in an editor or on a poster."""
    grounds: tuple[Color, ...] = ((18, 18, 28), (0, 0, 0), (40, 0, 60), (0, 0, 170))
    colors: tuple[Color, ...] = (
        (255, 40, 40),
        (60, 255, 90),
        (90, 140, 255),
        (255, 0, 220),
        (255, 200, 0),
        (0, 230, 230),
    )
    image = Image.new("RGB", size, numbers.choice(grounds))
    _write_lines(image, numbers, lambda: numbers.choice(colors))
    return image


def _write_lines(image: Image.Image, numbers: random.Random, choose_color: Callable[[], Color]) -> None:
    draw, top = ImageDraw.Draw(image), 6
    while top < image.height:
        points = numbers.choice((11, 13, 16, 24))
        font, left = ImageFont.load_default(points), 6.0
        while left < image.width:
            word = numbers.choice(_TEXT.split()) + " "
            draw.text((left, top), word, fill=choose_color(), font=font)
            left += font.getlength(word)
        top += round(1.4 * points)


def _draw_line_art(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return thin smooth strokes, some of them colored, on paper."""
    width, height = (edge * _SUPERSAMPLING for edge in size)
    image = Image.new("RGB", (width, height), numbers.choice(("white", (250, 244, 230))))
    draw = ImageDraw.Draw(image)
    for _ in range(28):
        color = (20, 20, 20) if numbers.random() < 0.7 else _pick_color(numbers)
        center = (numbers.randrange(width), numbers.randrange(height))
        radius, frequency = numbers.randrange(width // 16, width // 3), numbers.randrange(1, 6)
        points = []
        for step in range(161):
            angle = 2 * math.pi * step / 160
            reach = radius * (1 + 0.35 * math.sin(frequency * angle))
            points.append((center[0] + reach * math.cos(angle), center[1] + reach * math.sin(angle)))
        draw.line(points, fill=color, width=numbers.choice((2, 3, 5, 8)))
    return image.resize(size, Image.Resampling.BOX)


def _draw_gradients(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return smooth transitions in all channels, as of skies and backdrops."""
    channels = []
    for _ in range(3):
        linear = Image.linear_gradient("L").rotate(numbers.randrange(360), Image.Resampling.BICUBIC)
        radial = Image.radial_gradient("L")
        channel = Image.blend(linear, ImageChops.offset(radial, numbers.randrange(60)), numbers.random())
        low, high = sorted(numbers.sample(range(256), 2))
        box = (48, 48, 208, 208)
        channel = channel.resize(size, Image.Resampling.BICUBIC, box=box)
        channels.append(channel.point([low + (high - low) * value // 255 for value in range(256)]))
    return Image.merge("RGB", channels)


def _draw_grain(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return soft shapes under film grain, in luma and a little in color."""
    soft = _draw_shapes(numbers, size, 20).filter(ImageFilter.GaussianBlur(6))
    gray = _make_noise(numbers, size).filter(ImageFilter.GaussianBlur(0.6))
    color = [_make_noise(numbers, size).filter(ImageFilter.GaussianBlur(1)) for _ in range(3)]
    strength = numbers.choice((0.08, 0.14, 0.22))
    grainy = Image.blend(soft, Image.merge("RGB", (gray, gray, gray)), strength)
    return Image.blend(grainy, Image.merge("RGB", color), strength / 3)


def _draw_dark(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return a night scene: most codes below 50, faint texture, a few lights with halos."""
    scene = _draw_shapes(numbers, size, 25).filter(ImageFilter.GaussianBlur(3))
    texture = _make_noise(numbers, size).filter(ImageFilter.GaussianBlur(1.2))
    scene = Image.blend(scene, Image.merge("RGB", (texture,) * 3), 0.15)
    darkest = numbers.randrange(3, 8)
    scene = scene.point([value // darkest for value in range(256)] * 3)
    lights = Image.new("RGB", size)
    draw = ImageDraw.Draw(lights)
    for _ in range(14):
        x, y, radius = numbers.randrange(size[0]), numbers.randrange(size[1]), numbers.randrange(1, 5)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_pick_color(numbers, lowest=120))
    halos = lights.filter(ImageFilter.GaussianBlur(9))
    return ImageChops.add(ImageChops.add(scene, halos), lights.filter(ImageFilter.GaussianBlur(0.7)))


def _draw_transparent(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return a cut-out with soft edges and a half transparent shadow."""
    picture = _draw_shapes(numbers, size, 30)
    if numbers.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(2))
        noise = _make_noise(numbers, size).filter(ImageFilter.GaussianBlur(0.8))
        picture = Image.blend(picture, Image.merge("RGB", (noise,) * 3), 0.08)
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for _ in range(4):
        x, y = (numbers.randrange(edge // 4, 3 * edge // 4) for edge in size)
        radius = numbers.randrange(size[0] // 8, size[0] // 4)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    shadow = ImageChops.offset(mask.filter(ImageFilter.GaussianBlur(8)), 10, 10)
    alpha = ImageChops.lighter(
        mask.filter(ImageFilter.GaussianBlur(0.8)), shadow.point(lambda value: value // 2)
    )
    picture.paste((0, 0, 0), mask=ImageChops.invert(mask))
    picture.putalpha(alpha)
    return picture


def _draw_illustration(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return flat shapes with smooth edges, as of vector graphics."""
    large = (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING)
    return _draw_shapes(numbers, large, 40).resize(size, Image.Resampling.BOX)


def _draw_poster(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    """Return saturated large and small text over a soft scene with some grain."""
    scene = _draw_shapes(numbers, size, 30).filter(ImageFilter.GaussianBlur(5))
    noise = _make_noise(numbers, size).filter(ImageFilter.GaussianBlur(0.7))
    scene = Image.blend(scene, Image.merge("RGB", (noise,) * 3), 0.06)
    draw = ImageDraw.Draw(scene)
    for points in (56, 36, 22, 14):
        text = " ".join(numbers.choices(_TEXT.split(), k=3)).upper()
        place = (numbers.randrange(size[0] // 3), numbers.randrange(size[1] - points))
        draw.text(place, text, fill=_pick_color(numbers), font=ImageFont.load_default(points))
    return scene


def _draw_shapes(numbers: random.Random, size: tuple[int, int], count: int) -> Image.Image:
    palette = [_pick_color(numbers) for _ in range(9)]
    image = Image.new("RGB", size, palette[0])
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        x, y = numbers.randrange(size[0]), numbers.randrange(size[1])
        radius = numbers.randrange(size[0] // 24, size[0] // 4)
        box, color = (x - radius, y - radius, x + radius, y + radius), numbers.choice(palette)
        match numbers.randrange(3):
            case 0:
                draw.ellipse(box, fill=color)
            case 1:
                draw.regular_polygon(
                    (x, y, radius), numbers.randrange(3, 7), numbers.randrange(90), fill=color
                )
            case _:
                draw.rounded_rectangle(box, radius // 4, fill=color)
    return image


def _make_noise(numbers: random.Random, size: tuple[int, int]) -> Image.Image:
    return Image.frombytes("L", size, numbers.randbytes(size[0] * size[1]))


def _pick_color(numbers: random.Random, *, lowest: int = 0) -> Color:
    red, green, blue = (numbers.randrange(lowest, 256) for _ in range(3))
    return red, green, blue


KINDS: Mapping[str, Callable[[random.Random, tuple[int, int]], Image.Image]] = {
    "text": _draw_text,
    "colored_text": _draw_colored_text,
    "line_art": _draw_line_art,
    "gradients": _draw_gradients,
    "grain": _draw_grain,
    "dark": _draw_dark,
    "transparent": _draw_transparent,
    "illustration": _draw_illustration,
    "poster": _draw_poster,
}
