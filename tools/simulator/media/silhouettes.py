"""Simple shapes of things that prompts ask for, drawn upright on the ground.

Each function draws at `x` (center) and `y` (ground) with the height `s`, all in pixels.
"""

from collections.abc import Callable, Mapping

from PIL.ImageDraw import ImageDraw

type Color = tuple[int, int, int]
type Silhouette = Callable[[ImageDraw, float, float, float, Color], None]

_LIT: Color = (255, 225, 140)


def _polygon(
    draw: ImageDraw, x: float, y: float, s: float, color: Color, *points: tuple[float, float]
) -> None:
    """Fill a polygon whose points are in units of the height: to the right, and up from the ground."""
    draw.polygon([(x + right * s, y - up * s) for right, up in points], fill=color)


def _disk(draw: ImageDraw, x: float, y: float, radius: float, color: Color) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _ring(draw: ImageDraw, x: float, y: float, radius: float, color: Color, width: int) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=width)


def draw_lighthouse(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    _polygon(draw, x, y, s, color, (-0.12, 0), (-0.07, 0.78), (0.07, 0.78), (0.12, 0))
    _polygon(draw, x, y, s, color, (-0.1, 0.78), (-0.1, 0.81), (0.1, 0.81), (0.1, 0.78))
    _polygon(draw, x, y, s, _LIT, (-0.05, 0.81), (-0.05, 0.9), (0.05, 0.9), (0.05, 0.81))
    _polygon(draw, x, y, s, color, (-0.07, 0.9), (0, 1), (0.07, 0.9))
    for up in (0.2, 0.5):
        _polygon(draw, x, y, s, (235, 235, 225), (-0.11, up), (-0.1, up + 0.1), (0.1, up + 0.1), (0.11, up))


def draw_tree(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    _polygon(draw, x, y, s, (60, 45, 35), (-0.05, 0), (-0.03, 0.45), (0.03, 0.45), (0.05, 0))
    for right, up, radius in ((-0.17, 0.52, 0.18), (0.17, 0.54, 0.18), (0, 0.72, 0.24), (0, 0.5, 0.2)):
        _disk(draw, x + right * s, y - up * s, radius * s, color)


def draw_boat(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    _polygon(draw, x, y, s, color, (-0.42, 0.16), (-0.3, 0), (0.3, 0), (0.45, 0.18))
    _polygon(draw, x, y, s, color, (-0.015, 0.16), (-0.015, 0.95), (0.015, 0.95), (0.015, 0.16))
    _polygon(draw, x, y, s, (240, 238, 225), (0.04, 0.22), (0.04, 0.92), (0.38, 0.25))
    _polygon(draw, x, y, s, (225, 222, 210), (-0.04, 0.22), (-0.04, 0.8), (-0.3, 0.25))


def draw_house(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    _polygon(draw, x, y, s, color, (-0.35, 0), (-0.35, 0.42), (0.35, 0.42), (0.35, 0))
    _polygon(draw, x, y, s, (70, 50, 45), (-0.43, 0.42), (0, 0.8), (0.43, 0.42))
    for right in (-0.24, 0.08):
        _polygon(
            draw, x, y, s, _LIT, (right, 0.16), (right, 0.31), (right + 0.15, 0.31), (right + 0.15, 0.16)
        )


def draw_castle(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    _polygon(draw, x, y, s, color, (-0.4, 0), (-0.4, 0.42), (0.4, 0.42), (0.4, 0))
    for right, up in ((-0.4, 0.7), (0, 0.82), (0.4, 0.7)):
        _polygon(
            draw, x, y, s, color, (right - 0.1, 0), (right - 0.1, up), (right + 0.1, up), (right + 0.1, 0)
        )
        _polygon(draw, x, y, s, (80, 40, 45), (right - 0.13, up), (right, up + 0.18), (right + 0.13, up))
    _polygon(draw, x, y, s, (30, 25, 30), (-0.07, 0), (-0.07, 0.16), (0.07, 0.16), (0.07, 0))


def draw_city(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    for number, up in enumerate((0.5, 0.8, 0.62, 1.0, 0.7, 0.45)):
        left = -0.48 + number * 0.16
        _polygon(draw, x, y, s, color, (left, 0), (left, up), (left + 0.14, up), (left + 0.14, 0))
        for row in range(int(up / 0.12)):
            _polygon(
                *(draw, x, y, s, _LIT, (left + 0.03, row * 0.12 + 0.04), (left + 0.03, row * 0.12 + 0.08)),
                *((left + 0.1, row * 0.12 + 0.08), (left + 0.1, row * 0.12 + 0.04)),
            )


def draw_bicycle(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    width = max(2, int(s / 45))
    radius = 0.24 * s
    left, right, up = x - 0.33 * s, x + 0.33 * s, y - radius
    for wheel in (left, right):
        _ring(draw, wheel, up, radius, (30, 30, 30), width)
    crank, seat, head = (x - 0.03 * s, up), (x - 0.14 * s, y - 0.6 * s), (x + 0.23 * s, y - 0.62 * s)
    for start, end in (
        *(((left, up), crank), (crank, seat), ((left, up), seat), (seat, head), (crank, head)),
        *((head, (right, up)), (head, (x + 0.2 * s, y - 0.74 * s))),
        ((x + 0.2 * s, y - 0.74 * s), (x + 0.3 * s, y - 0.76 * s)),
        ((x - 0.21 * s, y - 0.66 * s), (x - 0.07 * s, y - 0.66 * s)),
        (seat, (x - 0.15 * s, y - 0.66 * s)),
    ):
        draw.line((*start, *end), fill=color, width=width)


def draw_animal(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    draw.ellipse((x - 0.3 * s, y - 0.5 * s, x + 0.3 * s, y - 0.15 * s), fill=color)
    for right in (-0.24, -0.12, 0.1, 0.22):
        _polygon(
            draw,
            x,
            y,
            s,
            color,
            (right - 0.03, 0),
            (right - 0.03, 0.3),
            (right + 0.04, 0.3),
            (right + 0.03, 0),
        )
    _disk(draw, x + 0.33 * s, y - 0.58 * s, 0.14 * s, color)
    _polygon(draw, x, y, s, color, (0.22, 0.66), (0.24, 0.82), (0.32, 0.7))
    _polygon(draw, x, y, s, color, (0.34, 0.7), (0.42, 0.82), (0.44, 0.66))
    draw.arc(
        (x - 0.52 * s, y - 0.72 * s, x - 0.2 * s, y - 0.3 * s), 90, 250, fill=color, width=max(2, int(s / 22))
    )


def draw_person(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    _disk(draw, x, y - 0.86 * s, 0.1 * s, color)
    _polygon(draw, x, y, s, color, (-0.16, 0.38), (-0.13, 0.74), (0.13, 0.74), (0.16, 0.38))
    _polygon(draw, x, y, s, color, (-0.13, 0), (-0.13, 0.4), (-0.01, 0.4), (-0.03, 0))
    _polygon(draw, x, y, s, color, (0.03, 0), (0.01, 0.4), (0.13, 0.4), (0.13, 0))
    _polygon(draw, x, y, s, color, (0.13, 0.74), (0.27, 0.42), (0.22, 0.4), (0.1, 0.62))
    _polygon(draw, x, y, s, color, (-0.13, 0.74), (-0.27, 0.42), (-0.22, 0.4), (-0.1, 0.62))


def draw_car(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    _polygon(draw, x, y, s, color, (-0.5, 0.1), (-0.5, 0.28), (0.5, 0.28), (0.5, 0.1))
    _polygon(draw, x, y, s, color, (-0.32, 0.28), (-0.2, 0.46), (0.2, 0.46), (0.34, 0.28))
    _polygon(draw, x, y, s, (190, 215, 230), (-0.24, 0.29), (-0.16, 0.42), (0.16, 0.42), (0.26, 0.29))
    for right in (-0.28, 0.28):
        _disk(draw, x + right * s, y - 0.1 * s, 0.1 * s, (25, 25, 25))


def draw_bird(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    for right, up, size in ((-0.3, 0.95, 0.2), (0.1, 1.1, 0.26), (0.42, 0.85, 0.16)):
        _polygon(
            *(draw, x, y, s, color, (right - size, up + size * 0.5), (right, up)),
            *((right + size, up + size * 0.5), (right, up + size * 0.18)),
        )


def draw_flower(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    for right, up in ((-0.25, 0.5), (0, 0.75), (0.25, 0.55)):
        draw.line(
            (x + right * s * 0.4, y, x + right * s, y - up * s), fill=(40, 95, 50), width=max(2, int(s / 40))
        )
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            _disk(draw, x + right * s + dx * 0.07 * s, y - up * s + dy * 0.07 * s, 0.06 * s, color)
        _disk(draw, x + right * s, y - up * s, 0.05 * s, (245, 205, 70))


def draw_rocket(draw: ImageDraw, x: float, y: float, s: float, color: Color) -> None:
    _polygon(draw, x, y, s, color, (-0.11, 0.12), (-0.11, 0.7), (0, 1), (0.11, 0.7), (0.11, 0.12))
    _polygon(draw, x, y, s, (150, 60, 50), (-0.11, 0.12), (-0.24, 0), (-0.11, 0.36))
    _polygon(draw, x, y, s, (150, 60, 50), (0.11, 0.12), (0.24, 0), (0.11, 0.36))
    _polygon(draw, x, y, s, _LIT, (-0.07, 0.12), (0, -0.06), (0.07, 0.12))
    _disk(draw, x, y - 0.6 * s, 0.05 * s, (200, 225, 240))


SILHOUETTES: Mapping[str, Silhouette] = {
    "animal": draw_animal,
    "bicycle": draw_bicycle,
    "bird": draw_bird,
    "boat": draw_boat,
    "car": draw_car,
    "castle": draw_castle,
    "city": draw_city,
    "flower": draw_flower,
    "house": draw_house,
    "lighthouse": draw_lighthouse,
    "person": draw_person,
    "rocket": draw_rocket,
    "tree": draw_tree,
}

SILHOUETTES_BY_WORD: dict[str, str] = {
    **dict.fromkeys(
        ("cat", "dog", "fox", "horse", "cow", "lion", "tiger", "wolf", "animal", "bear", "sheep"), "animal"
    ),
    **dict.fromkeys(("bicycle", "bike", "motorcycle"), "bicycle"),
    **dict.fromkeys(("bird", "eagle", "seagull", "owl", "dragon", "butterfly"), "bird"),
    **dict.fromkeys(("boat", "ship", "sail", "sailboat", "yacht", "sea", "ocean"), "boat"),
    **dict.fromkeys(("car", "truck", "bus", "taxi", "train"), "car"),
    **dict.fromkeys(("castle", "palace", "temple", "church", "ruin"), "castle"),
    **dict.fromkeys(("city", "skyline", "street", "building", "tower", "office"), "city"),
    **dict.fromkeys(("flower", "rose", "garden", "tulip", "sunflower"), "flower"),
    **dict.fromkeys(("house", "cabin", "cottage", "home", "barn", "village"), "house"),
    **dict.fromkeys(("lighthouse", "beacon", "cliff"), "lighthouse"),
    **dict.fromkeys(
        ("person", "man", "woman", "girl", "boy", "portrait", "astronaut", "robot", "alice", "knight"),
        "person",
    ),
    **dict.fromkeys(("rocket", "spaceship", "missile"), "rocket"),
    **dict.fromkeys(("tree", "forest", "wood", "palm", "oak", "jungle"), "tree"),
}
"""The silhouette that a word of a prompt chooses; words are in the singular."""
