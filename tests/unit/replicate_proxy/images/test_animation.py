"""Animations: how often they are played, their size, and what is compared."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from replicate_proxy.images.animation import Animation
from replicate_proxy.images.containers import avif, gif
from replicate_proxy.images.decode import open_image
from replicate_proxy.images.encode import TargetFormat
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.task import ImageLimits, ImageOutcome
from tests.support.images import Pipeline, decode_frames, encode_image, make_animation, make_photo, write_file

if TYPE_CHECKING:
    from pathlib import Path

    from replicate_proxy.images.task import ImageResult

TARGETS: list[TargetFormat] = ["webp", "avif"]
SIZE = (160, 120)
# Bytes after the end make the source larger than any output.
PADDING = b"\0" * 200_000


def compress(pipeline: Pipeline, content: bytes, target: TargetFormat = "webp") -> ImageResult:
    result = pipeline.run(content + PADDING, ImageOptions(format=target, min_score=-100))
    assert result.outcome is ImageOutcome.COMPRESSED
    return result


def read_plays(content: bytes) -> int:
    """Return how often a WebP or AVIF file is played, 0 for ever."""
    if content[4:8] == b"ftyp":
        return avif.read_plays(content)
    start = content.index(b"ANIM")
    return int.from_bytes(content[start + 12 : start + 14], "little")


def make_gif(*loops: tuple[bytes, int]) -> bytes:
    """Return an animation with these loop extensions only."""
    content = make_animation(3, "GIF", size=SIZE)
    extension = b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    assert content.count(extension) == 1
    blocks = (b"!\xff\x0b" + name + b"\x03\x01" + struct.pack("<H", count) + b"\0" for name, count in loops)
    return content.replace(extension, b"".join(blocks))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("loops", "plays"),
    [
        ([], 1),
        ([(b"NETSCAPE2.0", 0)], 0),
        ([(b"NETSCAPE2.0", 1)], 2),
        ([(b"NETSCAPE2.0", 7)], 8),
        ([(b"ANIMEXTS1.0", 2)], 3),
        ([(b"NETSCAPE2.0", 65_535)], 65_535),
    ],
)
def test_gif_is_played_as_often_as_before(
    pipeline: Pipeline, target: TargetFormat, loops: list[tuple[bytes, int]], plays: int
) -> None:
    compress(pipeline, make_gif(*loops), target)

    played = read_plays(pipeline.output.read_bytes())
    # WebP counts to 65,535, and a GIF is played once more than it says.
    assert played == (plays + 1 if target == "avif" and plays == 65_535 else plays)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source_format", ["PNG", "WEBP"])
@pytest.mark.parametrize("plays", [0, 1, 5])
def test_animation_is_played_as_often_as_before(
    pipeline: Pipeline, source_format: str, target: TargetFormat, plays: int
) -> None:
    photos = [make_photo(*SIZE, seed=seed) for seed in range(3)]
    content = encode_image(
        photos[0], source_format, save_all=True, append_images=photos[1:], duration=80, loop=plays
    )

    compress(pipeline, content, target)

    assert read_plays(pipeline.output.read_bytes()) == plays
    assert len(decode_frames(pipeline.output.read_bytes())) == 3


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("plays", [0, 1, 2, 30])
def test_avif_sequence_is_played_as_often_as_before(
    pipeline: Pipeline, target: TargetFormat, plays: int
) -> None:
    content = make_animation(3, "AVIF", size=SIZE)
    assert avif.read_plays(content) == 0
    content = avif.set_plays(content, plays) if plays else content
    assert avif.read_plays(content) == plays

    compress(pipeline, content, target)

    assert read_plays(pipeline.output.read_bytes()) == plays


def test_still_avif_is_not_played() -> None:
    assert avif.read_plays(encode_image(make_photo(), "AVIF", speed=10)) == 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source_format", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_animation_is_upright(
    pipeline: Pipeline, source_format: str, target: TargetFormat, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = make_animation(3, source_format, size=SIZE, exif=exif)

    result = compress(pipeline, content, target)

    size = (120, 160) if orientation == 6 else SIZE
    assert (result.width, result.height) == size
    output = pipeline.open_output()
    assert output.size == size == pipeline.open_thumbnail().size
    assert not output.getexif()
    turned = Image.Transpose.ROTATE_270 if orientation == 6 else Image.Transpose.ROTATE_180
    for index in range(3):
        output.seek(index)
        expected = make_photo(*SIZE, seed=index).transpose(turned).resize((8, 8)).tobytes()
        actual = output.convert("RGB").resize((8, 8)).tobytes()
        assert list(actual) == pytest.approx(list(expected), abs=12)


def move_frames(content: bytes, index: int, left: int, top: int) -> bytes:
    """Move one frame of a GIF."""
    data = bytearray(content)
    frames = [block for block in gif.read_blocks(content) if block.kind == gif.IMAGE]
    struct.pack_into("<HH", data, frames[index].start + 1, left, top)
    return bytes(data)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_gif_is_cut_to_its_screen(pipeline: Pipeline, index: int) -> None:
    content = move_frames(make_animation(3, "GIF", size=SIZE), index, 100, 50)

    result = compress(pipeline, content)

    assert (result.width, result.height) == pipeline.open_output().size == SIZE


def test_still_gif_is_cut_to_its_screen(pipeline: Pipeline) -> None:
    content = bytearray(encode_image(make_photo(*SIZE), "GIF"))
    content[6:10] = struct.pack("<HH", 100, 60)

    result = pipeline.run(bytes(content) + PADDING)

    assert (result.width, result.height) == pipeline.open_output().size == (100, 60)


def test_gif_without_screen_has_size_of_its_frames(pipeline: Pipeline) -> None:
    content = bytearray(encode_image(make_photo(*SIZE), "GIF"))
    content[6:10] = bytes(4)

    result = pipeline.run(bytes(content) + PADDING)

    assert (result.width, result.height) == SIZE


def test_score_is_that_of_encoded_frames(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that are read wrongly while they are encoded must not pass as the right ones."""
    black = make_black_animation()
    monkeypatch.setattr(Animation, "_encode", lambda *_, **__: black)

    result = pipeline.run(make_animation(3, "PNG", size=SIZE) + PADDING)

    assert (result.outcome, result.reason) == (ImageOutcome.UNMODIFIED, "below_min_score")
    assert (result.score or 0) < 20


def make_black_animation() -> bytes:
    frames = [Image.new("RGB", SIZE, (index, 0, 0)) for index in range(3)]
    return encode_image(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=80)


def test_equal_frames_that_encoder_joins_are_found_by_time(pipeline: Pipeline) -> None:
    first, second = make_photo(*SIZE, seed=1), make_photo(*SIZE, seed=2)
    frames = [first, first, first, second, second, second]
    content = encode_image(
        frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, duration=80
    )

    result = compress(pipeline, content)

    assert (result.score or 0) > 60
    assert sum(int(str(timing[0])) for _, _, timing in decode_timing(pipeline.output.read_bytes())) == 480


def decode_timing(content: bytes) -> list[tuple[str, bytes, tuple[object, object, object]]]:
    return decode_frames(content)  # type: ignore[return-value] # the third value is such a tuple


def test_frames_are_read_again_from_the_first_one(tmp_path: Path) -> None:
    for source_format in ("GIF", "PNG", "WEBP", "AVIF"):
        content = make_animation(3, source_format, size=SIZE)
        with open_image(write_file(tmp_path, content), ImageLimits()) as source:
            first = [frame.pixels.tobytes() for frame in source.read_frames()]
            again = [frame.pixels.tobytes() for frame in source.read_frames()]

        assert first == again
        assert len(set(first)) == 3
        with Image.open(io.BytesIO(content)) as image:
            assert first[0] == image.convert("RGB").tobytes()
