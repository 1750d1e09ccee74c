"""PNG pixels with transparency of any bit depth, and APNG frames composed as the specification says."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.images.containers.png import build_chunk
from replicate_proxy.images.decode import open_image
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.task import ImageLimits, ImageOutcome, UnreadableImageError
from tests.support.images import Pipeline, decode_frames, write_file
from tests.support.png import (
    BLEND_OVER,
    DISPOSE_BACKGROUND,
    DISPOSE_PREVIOUS,
    GRAY,
    GRAY_ALPHA,
    PALETTE,
    RGB,
    RGBA,
    ApngFrame,
    Png,
    build_palette,
    fill,
)

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

RED, BLUE, CLEAR = (255, 0, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)
SIZE = (4, 2)


def decode(folder: Path, content: bytes) -> Image.Image:
    with open_image(write_file(folder, content), ImageLimits()) as source:
        return source.read_still().convert("RGBA")


def decode_animation(folder: Path, content: bytes) -> list[list[tuple[int, ...]]]:
    """Return the pixels of each frame's first row."""
    with open_image(write_file(folder, content), ImageLimits()) as source:
        return [read_row(frame.pixels.convert("RGBA")) for frame in source.read_frames()]


def read_row(image: Image.Image, y: int = 0) -> list[tuple[int, ...]]:
    raw = image.tobytes()[4 * image.width * y : 4 * image.width * (y + 1)]
    return [tuple(raw[start : start + 4]) for start in range(0, len(raw), 4)]


def build_transparency(*samples: int) -> bytes:
    return build_chunk(b"tRNS", struct.pack(f">{len(samples)}H", *samples))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_transparent_gray_of_any_bit_depth_is_transparent(depth: int, tmp_path: Path) -> None:
    highest = (1 << depth) - 1
    for transparent in {0, 1, highest // 2, highest}:
        other = transparent - 1 if transparent else 1
        content = Png(depth, GRAY, (build_transparency(transparent),)).build([[transparent, other]] * 2)

        row = read_row(decode(tmp_path, content))

        assert [pixel[3] for pixel in row] == [0, 255]
        assert row[1][0] == pytest.approx(other * 255 / highest, abs=1)


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_color_is_compared_in_full_bit_depth(depth: int, tmp_path: Path) -> None:
    color = (200, 10, 30) if depth == 8 else (40_000, 300, 7)
    nearby = [tuple(value + (channel == index) for index, value in enumerate(color)) for channel in range(3)]
    row = [value for pixel in (color, *nearby) for value in pixel]
    content = Png(depth, RGB, (build_transparency(*color),)).build([row] * 2)

    pixels = read_row(decode(tmp_path, content))

    assert [pixel[3] for pixel in pixels] == [0, 255, 255, 255]


def test_transparent_color_beyond_bit_depth_counts_by_its_low_bits(tmp_path: Path) -> None:
    content = Png(8, RGB, (build_transparency(0x0105, 0x0206, 7),)).build([[5, 6, 7, 5, 6, 8]])

    assert [pixel[3] for pixel in read_row(decode(tmp_path, content))] == [0, 255]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_transparency_of_palette_is_kept(depth: int, tmp_path: Path) -> None:
    chunks = (build_palette((255, 0, 0), (0, 0, 255)), build_chunk(b"tRNS", b"\x80"))

    row = read_row(decode(tmp_path, Png(depth, PALETTE, chunks).build([[0, 1]] * 2)))

    assert row == [(255, 0, 0, 128), BLUE]


@pytest.mark.parametrize("color_type", [GRAY_ALPHA, RGBA])
def test_alpha_of_16_bits_is_kept(color_type: int, tmp_path: Path) -> None:
    channels = 1 if color_type == GRAY_ALPHA else 3
    row = [*[65_535] * channels, 32_896, *[0] * channels, 65_535]

    pixels = read_row(decode(tmp_path, Png(16, color_type).build([row])))

    assert pixels == [(255, 255, 255, 128), (0, 0, 0, 255)]


def test_transparent_gray_of_16_bits_is_transparent_in_output(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    rows = [[1000 * (x // 8 + y // 8) for x in range(64)] for y in range(64)]
    content = Png(16, GRAY, (build_transparency(5000),)).build(rows)

    result = pipeline.run(content, ImageOptions(min_score=-100))

    assert result.outcome is ImageOutcome.COMPRESSED
    alpha = pipeline.open_output().getchannel("A")
    assert {alpha.getpixel((x, 0)) for x in range(0, 64, 8)} == {0, 255}
    assert alpha.getpixel((40, 0)) == 0


PALETTE_KIND = Png(
    8, PALETTE, (build_palette((255, 0, 0), (0, 0, 255), (0, 0, 0)), build_chunk(b"tRNS", b"\xff\xff\0"))
)


def test_frames_of_palette_are_decoded(tmp_path: Path) -> None:
    content = PALETTE_KIND.build_animation(
        ApngFrame(fill(4, 2, 0)), ApngFrame(fill(2, 1, 1), x=1), ApngFrame(fill(4, 2, 2)), size=SIZE
    )

    assert decode_animation(tmp_path, content) == [[RED] * 4, [RED, BLUE, BLUE, RED], [CLEAR] * 4]


@pytest.mark.parametrize("dispose", [DISPOSE_BACKGROUND, DISPOSE_PREVIOUS])
def test_frame_is_disposed_of(dispose: int, tmp_path: Path) -> None:
    content = PALETTE_KIND.build_animation(
        ApngFrame(fill(4, 2, 0)),
        ApngFrame(fill(2, 2, 1), x=1, dispose=dispose),
        ApngFrame([[2, 1]], blend=BLEND_OVER),
        size=SIZE,
    )

    third = decode_animation(tmp_path, content)[2]

    left = CLEAR if dispose == DISPOSE_BACKGROUND else RED
    assert third == [RED, BLUE, left, RED]


def test_first_frame_that_is_disposed_to_previous_leaves_nothing(tmp_path: Path) -> None:
    content = PALETTE_KIND.build_animation(
        ApngFrame(fill(4, 2, 0), dispose=DISPOSE_PREVIOUS), ApngFrame(fill(1, 1, 1)), size=SIZE
    )

    assert decode_animation(tmp_path, content)[1] == [BLUE, CLEAR, CLEAR, CLEAR]


def test_translucent_frames_are_composed(tmp_path: Path) -> None:
    content = Png(8, RGBA).build_animation(
        ApngFrame(fill(4, 2, 0, 0, 0, 0)),
        ApngFrame(fill(4, 2, 255, 0, 0, 128), blend=BLEND_OVER),
        ApngFrame(fill(4, 2, 0, 0, 255, 128), blend=BLEND_OVER),
        size=SIZE,
    )

    _, second, third = decode_animation(tmp_path, content)

    assert second == [(255, 0, 0, 128)] * 4
    # Half of the red shines through.
    assert third[0] == pytest.approx((85, 0, 170, 192), abs=1)


@pytest.mark.parametrize("depth", [8, 16])
def test_transparent_color_of_frames_is_transparent(depth: int, tmp_path: Path) -> None:
    high = (1 << depth) - 1
    content = Png(depth, RGB, (build_transparency(1, 2, 3),)).build_animation(
        ApngFrame(fill(4, 2, high, 0, 0)),
        ApngFrame([[1, 2, 3, 0, 0, high]], blend=BLEND_OVER),
        ApngFrame(fill(4, 2, 1, 2, 3)),
        size=SIZE,
    )

    frames = decode_animation(tmp_path, content)

    assert frames[1] == [RED, BLUE, RED, RED]
    assert [pixel[3] for pixel in frames[2]] == [0] * 4


def test_hidden_default_image_is_no_frame(tmp_path: Path) -> None:
    frames = [ApngFrame(fill(4, 2, 0)), ApngFrame(fill(4, 2, 1))]
    content = PALETTE_KIND.build_animation(*frames, size=SIZE, hidden=fill(4, 2, 2))

    assert decode_animation(tmp_path, content) == [[RED] * 4, [BLUE] * 4]


def test_hidden_default_image_stays_hidden_in_output(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    kind = Png(8, RGB)
    frames = [ApngFrame(fill(64, 48, 255, 20 * index, 0)) for index in range(4)]
    content = kind.build_animation(*frames, size=(64, 48), hidden=fill(64, 48, 0, 255, 0)) + b"\0" * 9999

    result = pipeline.run(content, ImageOptions(min_score=-100))

    assert (result.outcome, result.frame_count) == (ImageOutcome.COMPRESSED, 4)
    decoded = decode_frames(pipeline.output.read_bytes())
    assert len(decoded) == 4
    assert all(pixels[0] > 200 for _, pixels, _ in decoded)
    assert pipeline.open_thumbnail().convert("RGB").getpixel((5, 5)) == pytest.approx((255, 0, 0), abs=9)


def test_animation_of_one_frame_is_still_image_of_that_frame(tmp_path: Path) -> None:
    content = PALETTE_KIND.build_animation(ApngFrame(fill(2, 2, 1), x=1), size=SIZE, hidden=fill(4, 2, 0))

    with open_image(write_file(tmp_path, content), ImageLimits()) as source:
        assert source.frame_count == 1
        assert read_row(source.read_still()) == [CLEAR, BLUE, BLUE, CLEAR]


def test_animation_control_after_pixels_is_ignored(tmp_path: Path) -> None:
    content = PALETTE_KIND.build(fill(4, 2, 0))
    control = build_chunk(b"acTL", struct.pack(">II", 1, 0))

    assert read_row(decode(tmp_path, content[:-12] + control + content[-12:])) == [RED] * 4


@pytest.mark.parametrize("frame", [ApngFrame(fill(4, 2, 0), x=1), ApngFrame(fill(5, 2, 0))])
def test_animation_with_frame_outside_of_canvas_is_broken(frame: ApngFrame, tmp_path: Path) -> None:
    content = PALETTE_KIND.build_animation(ApngFrame(fill(4, 2, 0)), frame, size=SIZE)

    with pytest.raises(UnreadableImageError, match="broken"):
        decode(tmp_path, content)


@pytest.mark.parametrize("has_alpha", [False, True])
def test_animation_of_palette_is_the_same_in_output(has_alpha: bool, tmp_path: Path) -> None:
    """Each frame is compared, as it was encoded: the file used to hold black frames."""
    pipeline = Pipeline(tmp_path)
    colors = [(255, 0, 0), (0, 200, 0), (0, 0, 255), (240, 240, 0)]
    alphas = build_chunk(b"tRNS", b"\xff\xff\xff\x40" if has_alpha else b"\xff")
    kind = Png(8, PALETTE, (build_palette(*colors), alphas))
    frames = [
        ApngFrame([[(index + x // 16 + y // 16) % 4 for x in range(64)] for y in range(48)])
        for index in range(4)
    ]
    content = kind.build_animation(*frames, size=(64, 48)) + b"\0" * 9999

    result = pipeline.run(content, ImageOptions(quality=90))

    assert (result.outcome, result.frame_count) == (ImageOutcome.COMPRESSED, 4)
    assert (result.score or -100) > 0
    for index, (_, pixels, _) in enumerate(decode_frames(pipeline.output.read_bytes())):
        middle = 4 * (8 * 64 + 8)
        expected = (*colors[index % 4], 0x40 if has_alpha and index % 4 == 3 else 255)
        assert tuple(pixels[middle : middle + 4]) == pytest.approx(expected, abs=40)
