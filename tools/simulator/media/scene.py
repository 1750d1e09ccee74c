"""Paint a landscape that the words of a prompt choose: time of day, weather, and what stands in it.

A scene has a sky with sun or moon, hills, the sea, and a silhouette. It is recognizable as a picture, and
differs with each prompt and seed. All coordinates of the drawing functions are in pixels.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw, ImageFont, ImageOps

from tools.simulator.media.silhouettes import SILHOUETTES, SILHOUETTES_BY_WORD

type Color = tuple[int, int, int]

_MIN_CAPTION_WIDTH = 200
_MAX_CAPTION_CHARACTERS = 160
_MAX_CAPTION_LINES = 2
_HORIZON = 0.66
_WATER_LINES = 90


@dataclass(frozen=True, slots=True)
class Light:
    """The colors of a time of day: the sky from top to horizon, its sun or moon, land and water."""

    sky_top: Color
    sky_horizon: Color
    sun: Color
    land: Color
    water: Color
    stars: int = 0


_LIGHTS = {
    "day": Light((70, 130, 200), (200, 225, 240), (255, 250, 225), (70, 105, 80), (60, 120, 150)),
    "dusk": Light((60, 50, 110), (250, 150, 90), (255, 214, 140), (60, 45, 75), (120, 80, 110)),
    "dawn": Light((110, 140, 190), (250, 205, 185), (255, 236, 205), (80, 90, 110), (130, 150, 170)),
    "night": Light((8, 12, 35), (40, 55, 95), (240, 240, 225), (15, 20, 35), (25, 38, 70), stars=140),
    "storm": Light((60, 68, 80), (140, 148, 155), (200, 205, 205), (48, 55, 60), (70, 84, 95)),
    "snow": Light((150, 175, 205), (225, 232, 240), (255, 255, 250), (205, 215, 228), (120, 150, 180)),
    "desert": Light((90, 160, 210), (245, 220, 170), (255, 245, 210), (200, 150, 90), (215, 180, 125)),
}
_LIGHTS_BY_WORD = {
    **dict.fromkeys(("night", "moon", "star", "space", "midnight", "dark"), "night"),
    **dict.fromkeys(("dusk", "sunset", "evening", "autumn", "fire"), "dusk"),
    **dict.fromkeys(("dawn", "sunrise", "morning", "mist", "fog"), "dawn"),
    **dict.fromkeys(("storm", "rain", "cloud", "grey", "gray"), "storm"),
    **dict.fromkeys(("snow", "winter", "ice", "frost"), "snow"),
    **dict.fromkeys(("desert", "sand", "dune", "beach"), "desert"),
    **dict.fromkeys(("day", "noon", "summer", "sunny"), "day"),
}
_COLORS_BY_WORD: dict[str, Color] = {
    "red": (190, 40, 40),
    "orange": (225, 120, 30),
    "yellow": (225, 190, 40),
    "green": (40, 120, 60),
    "blue": (40, 80, 180),
    "purple": (110, 50, 140),
    "pink": (220, 120, 160),
    "white": (235, 235, 230),
    "golden": (205, 165, 60),
}


def paint_scene(width: int, height: int, prompt: str, rng: Random) -> Image.Image:
    """Return an RGB picture; without a prompt, the generator chooses everything."""
    words = [word.removesuffix("s") for word in re.findall(r"[a-z]+", prompt.lower())]
    light = _LIGHTS[_find(words, _LIGHTS_BY_WORD) or rng.choice(sorted(_LIGHTS))]
    picture = _paint_sky(width, height, light, rng)
    _draw_sun(picture, light, rng)
    _draw_hills(picture, light, rng)
    _draw_water(picture, light, rng)
    silhouette = _find(words, SILHOUETTES_BY_WORD) or rng.choice(sorted(SILHOUETTES))
    color = next((_COLORS_BY_WORD[word] for word in words if word in _COLORS_BY_WORD), None)
    _draw_silhouette(picture, silhouette, color or _mix(light.land, (0, 0, 0), 0.6), rng)
    return picture


def draw_caption(picture: Image.Image, text: str) -> None:
    """Write the text at the bottom; nothing on a picture that is too small for it."""
    # The built-in font has Latin letters only.
    caption = " ".join(text.encode("latin-1", "ignore").decode("latin-1").split())
    width, height = picture.size
    if not caption or width < _MIN_CAPTION_WIDTH or height < _MIN_CAPTION_WIDTH:
        return
    font = ImageFont.load_default(max(12, width // 36))
    lines = _wrap(caption[:_MAX_CAPTION_CHARACTERS], font, width * 0.92)
    draw = ImageDraw.Draw(picture, "RGBA")
    line_height = max(12, width // 36) * 1.3
    top = height - line_height * (len(lines) + 0.6)
    draw.rectangle((0, top, width, height), fill=(0, 0, 0, 110))
    for number, line in enumerate(lines):
        draw.text((width * 0.04, top + line_height * (number + 0.25)), line, fill=(245, 245, 240), font=font)


def _find(words: Sequence[str], values: dict[str, str]) -> str | None:
    return next((values[word] for word in words if word in values), None)


def _paint_sky(width: int, height: int, light: Light, rng: Random) -> Image.Image:
    gradient = Image.linear_gradient("L").resize((width, height))
    sky = ImageOps.colorize(gradient, light.sky_top, _mix(light.sky_horizon, light.sky_top, -0.3))
    clouds = Image.new("L", (width, height))
    for cells, share in ((4, 1.0), (11, 0.5), (31, 0.25)):
        noise = Image.frombytes("L", (cells, cells), rng.randbytes(cells * cells))
        # Clouds are wider than high.
        layer = noise.resize((width, height), Image.Resampling.BICUBIC, box=(0, 0, cells, cells * 0.999))
        clouds = Image.blend(clouds, layer, share / (1 + share))
    cover = clouds.point([max(0, min(150, (level - 118) * 4)) for level in range(256)])
    sky.paste(Image.new("RGB", (width, height), _mix(light.sky_horizon, (255, 255, 255), 0.4)), mask=cover)
    draw = ImageDraw.Draw(sky)
    for _ in range(light.stars):
        x, y = rng.randrange(width), rng.randrange(max(1, int(height * _HORIZON)))
        level = rng.randrange(150, 256)
        draw.point((x, y), fill=(level, level, level))
    return sky


def _draw_sun(picture: Image.Image, light: Light, rng: Random) -> None:
    width, height = picture.size
    radius = max(2, int(min(width, height) * rng.uniform(0.05, 0.09)))
    x, y = int(width * rng.uniform(0.15, 0.85)), int(height * rng.uniform(0.15, _HORIZON - 0.12))
    glow = ImageOps.invert(Image.radial_gradient("L")).resize((radius * 8, radius * 8))
    # The gradient ends at the corners of its square; the glow must end at the nearest edges.
    glow = glow.point([max(0, level - 78) ** 2 // 260 for level in range(256)])
    picture.paste(light.sun, (x - radius * 4, y - radius * 4), glow)
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=light.sun)


def _draw_hills(picture: Image.Image, light: Light, rng: Random) -> None:
    """Draw ridges from far to near, each darker than the one before."""
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    for layer in range(3):
        roughness = rng.uniform(0.05, 0.16) * height * (1 - layer * 0.25)
        base = height * (_HORIZON - 0.04 + 0.03 * layer)
        points = [(x * width / 64, base - level * roughness) for x, level in enumerate(_walk(rng, 65))]
        color = _mix(light.sky_horizon, light.land, 0.45 + 0.25 * layer)
        draw.polygon([(0, height), *points, (width, height)], fill=color)


def _walk(rng: Random, count: int) -> list[float]:
    """Return a smooth random line of `count` levels between 0 and 1."""
    knots = [rng.random() for _ in range(9)]
    levels = []
    for number in range(count):
        position = number * (len(knots) - 1) / (count - 1)
        index = min(int(position), len(knots) - 2)
        share = position - index
        share = share * share * (3 - 2 * share)
        levels.append(knots[index] * (1 - share) + knots[index + 1] * share + rng.uniform(-0.02, 0.02))
    return levels


def _draw_water(picture: Image.Image, light: Light, rng: Random) -> None:
    width, height = picture.size
    top = int(height * (_HORIZON + 0.08))
    gradient = Image.linear_gradient("L").resize((width, max(1, height - top)))
    water = ImageOps.colorize(
        gradient, _mix(light.water, light.sky_horizon, 0.45), _mix(light.water, (0, 0, 0), 0.35)
    )
    picture.paste(water, (0, top))
    draw = ImageDraw.Draw(picture, "RGBA")
    for _ in range(_WATER_LINES):
        y = top + (height - top) * rng.random() ** 1.5
        length = width * rng.uniform(0.02, 0.16) * (0.4 + (y - top) / max(1, height - top))
        x = rng.uniform(-length, width)
        draw.line(
            (x, y, x + length, y), fill=(*light.sun, rng.randrange(20, 90)), width=max(1, height // 400)
        )


def _draw_silhouette(picture: Image.Image, name: str, color: Color, rng: Random) -> None:
    """Draw it on a small island in the foreground."""
    width, height = picture.size
    size = min(width, height) * rng.uniform(0.34, 0.46)
    x = width * rng.uniform(0.3, 0.7)
    ground = height * 0.84
    draw = ImageDraw.Draw(picture)
    shore = _mix(color, (25, 25, 25), 0.75)
    draw.ellipse((x - size * 0.8, ground - size * 0.06, x + size * 0.8, ground + size * 0.1), fill=shore)
    SILHOUETTES[name](draw, x, ground, size, color)


def _mix(color: Color, other: Color, share: float) -> Color:
    """Return the color with a share of the other; a negative share moves away from it."""
    red, green, blue = (
        max(0, min(255, round(a + (b - a) * share))) for a, b in zip(color, other, strict=True)
    )
    return red, green, blue


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    """Return the text in at most two lines of that width."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        elif len(lines) == _MAX_CAPTION_LINES:
            lines[-1] += " …" if font.getlength(lines[-1] + " …") <= width else ""
            break
        else:
            lines.append(word)
    return lines
