"""Colors as browsers show them: by what a profile does and not by its name, and without a profile."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageCms

from replicate_proxy.images.color import ColorConverter
from replicate_proxy.images.color_source import read_color
from replicate_proxy.images.color_spaces import build_coded_profile, build_gamma_profile
from replicate_proxy.images.containers.png import build_chunk
from replicate_proxy.images.decode import open_image
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.task import ImageLimits, ImageOutcome
from tests.support.avif import AvifFile, build_box
from tests.support.images import Pipeline, encode_image, make_photo, write_file
from tests.support.png import GRAY, RGB, Png, fill

if TYPE_CHECKING:
    from pathlib import Path

type Color = tuple[int, int, int]

BT709, BT2020, P3 = 1, 9, 12
LINEAR, SRGB_TRANSFER, PQ, HLG = 8, 13, 16, 18
GRAYS = [(0, 0, 0), (128, 128, 128), (255, 255, 255)]
# Computed with the matrices of CSS Color 4 (section 10.1 and the sample code), clipped to sRGB.
P3_TO_SRGB: dict[Color, Color] = {
    (255, 128, 64): (255, 119, 38),
    (60, 180, 90): (0, 183, 78),
    (200, 60, 60): (217, 42, 52),
}
BT2020_TO_SRGB: dict[Color, Color] = {(180, 120, 60): (210, 110, 42), (90, 120, 160): (52, 123, 164)}


def encode_srgb(linear: float) -> int:
    """Return the 8-bit value (IEC 61966-2-1)."""
    limit = 0.0031308
    value = 12.92 * linear if linear <= limit else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(255 * min(1.0, value))


def convert(profile: bytes | None, color: Color) -> Color:
    pixel = ColorConverter(profile).convert(Image.new("RGB", (1, 1), color)).convert("RGB").tobytes()
    return (pixel[0], pixel[1], pixel[2])


def rename_profile(profile: bytes, name: str) -> bytes:
    """Return the profile with a description tag that holds that name."""
    count = int.from_bytes(profile[128:132])
    table = profile[132 : 132 + 12 * count]
    moved = b"".join(
        struct.pack(">4sII", kind, offset + 12, size)
        for kind, offset, size in struct.iter_unpack(">4sII", table)
    )
    text = name.encode("utf-16-be")
    tag = struct.pack(">4s4xII2s2sII", b"mluc", 1, 12, b"en", b"US", len(text), 28) + text
    body = profile[132 + 12 * count :]
    entry = struct.pack(">4sII", b"desc", len(profile) + 12, len(tag))
    content = profile[4:128] + (count + 1).to_bytes(4) + moved + entry + body + tag
    return (len(content) + 4).to_bytes(4) + content


def read_still(folder: Path, content: bytes) -> Image.Image:
    with open_image(write_file(folder, content), ImageLimits()) as source:
        pixels = source.read_still().convert("RGB")
        pixels.load()
        return pixels


def read_color_of(folder: Path, content: bytes) -> Color:
    pixel = read_still(folder, content).tobytes()
    return (pixel[0], pixel[1], pixel[2])


@pytest.mark.parametrize(
    "name",
    ["Display P3 Gamut with sRGB Transfer", "sRGB EOTF with DCI-P3 Color Gamut", "sRGB", "something else"],
)
@pytest.mark.parametrize(("color", "expected"), P3_TO_SRGB.items())
def test_profile_is_judged_by_primaries(name: str, color: Color, expected: Color) -> None:
    profile = build_coded_profile(P3, SRGB_TRANSFER)
    assert profile is not None
    renamed = rename_profile(profile, name)
    assert name in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(renamed)))

    assert convert(renamed, color) == pytest.approx(expected, abs=2)


def test_profile_is_judged_by_curve() -> None:
    profile = build_gamma_profile(None, 1.0)
    assert profile is not None

    converted = convert(rename_profile(profile, "linear sRGB"), (10, 55, 200))

    assert converted == pytest.approx([encode_srgb(value / 255) for value in (10, 55, 200)], abs=1)


@pytest.mark.parametrize("name", ["sRGB IEC61966-2.1", "no name at all"])
def test_srgb_profile_of_any_name_changes_nothing(name: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    curve = build_gamma_profile((0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329), None)
    assert curve is not None

    for srgb in (profile, rename_profile(curve, name)):
        assert ColorConverter(srgb)._transform is None


@pytest.mark.parametrize("source_format", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_profile_in_file_of_any_format_is_applied(source_format: str, tmp_path: Path) -> None:
    profile = build_coded_profile(P3, SRGB_TRANSFER)
    lossless: dict[str, dict[str, Any]] = {
        "WEBP": {"lossless": True},
        "JPEG": {"quality": 100, "subsampling": 0},
        "AVIF": {"quality": 100},
    }
    color, expected = (60, 180, 90), P3_TO_SRGB[60, 180, 90]
    image = Image.new("RGB", (16, 16), color)
    content = encode_image(image, source_format, icc_profile=profile, **lossless.get(source_format, {}))

    assert read_color_of(tmp_path, content) == pytest.approx(expected, abs=4)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16"])
def test_profile_is_applied_to_pixels_of_any_mode(mode: str, tmp_path: Path) -> None:
    gray = Image.new("RGBA", (8, 8), (55, 55, 55, 100))
    image = {
        "I;16": lambda: Image.new("I;16", (8, 8), 55 * 257),
        "P": lambda: gray.convert("RGB").quantize(2),
    }.get(mode, lambda: gray.convert(mode))()
    content = encode_image(image, icc_profile=build_gamma_profile(None, 1.0))

    with open_image(write_file(tmp_path, content), ImageLimits()) as source:
        pixels = source.read_still()

    assert pixels.convert("L").getpixel((0, 0)) == pytest.approx(encode_srgb(55 / 255), abs=1)
    assert (pixels.mode == "RGBA") == (mode in {"LA", "RGBA"})
    if pixels.mode == "RGBA":
        assert pixels.getchannel("A").getextrema() == (100, 100)


def build_cicp(primaries: int, transfer: int, matrix: int = 0, full_range: int = 1) -> bytes:
    return build_chunk(b"cICP", bytes((primaries, transfer, matrix, full_range)))


def build_png(color: Color, *chunks: bytes) -> bytes:
    return Png(8, RGB, chunks).build(fill(16, 16, *color))


@pytest.mark.parametrize(
    ("primaries", "colors"), [(P3, P3_TO_SRGB), (BT2020, BT2020_TO_SRGB), (P3, {c: c for c in GRAYS})]
)
def test_png_is_converted_by_its_code_points(
    primaries: int, colors: dict[Color, Color], tmp_path: Path
) -> None:
    for color, expected in colors.items():
        content = build_png(color, build_cicp(primaries, SRGB_TRANSFER))

        assert read_color_of(tmp_path, content) == pytest.approx(expected, abs=2)


@pytest.mark.parametrize("transfer", [1, 2, 6, 13, 14, 15])
def test_transfer_functions_of_television_are_shown_like_srgb(transfer: int, tmp_path: Path) -> None:
    content = build_png((60, 180, 90), build_cicp(P3, transfer))

    assert read_color_of(tmp_path, content) == pytest.approx(P3_TO_SRGB[60, 180, 90], abs=2)


def build_iccp(profile: bytes | None) -> bytes:
    assert profile is not None
    return build_chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))


def build_gama(gamma: float) -> bytes:
    return build_chunk(b"gAMA", struct.pack(">I", round(gamma * 100_000)))


def build_chrm(*values: float) -> bytes:
    return build_chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


SRGB_CHRM = build_chrm(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3_CHRM = build_chrm(0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SRGB_CHUNK = build_chunk(b"sRGB", b"\0")


@pytest.mark.parametrize(
    ("chunks", "is_converted"),
    [
        ((build_cicp(P3, SRGB_TRANSFER), SRGB_CHUNK), True),
        ((build_cicp(P3, SRGB_TRANSFER), build_iccp(build_gamma_profile(None, 1.0))), True),
        ((build_cicp(BT709, SRGB_TRANSFER), build_iccp(build_coded_profile(P3, 13))), False),
        ((build_iccp(build_coded_profile(P3, 13)), SRGB_CHUNK), True),
        ((SRGB_CHUNK, build_gama(1.0), P3_CHRM), False),
        ((build_gama(0.45455), P3_CHRM), True),
        ((P3_CHRM,), True),
        ((build_gama(0.45455), SRGB_CHRM), False),
        ((build_gama(0.45455),), False),
        ((SRGB_CHRM,), False),
        ((build_gama(0),), False),
        ((build_chrm(*[0] * 8),), False),
        ((build_cicp(P3, 200), build_iccp(build_coded_profile(P3, 13))), False),
        ((build_cicp(P3, SRGB_TRANSFER, matrix=1), P3_CHRM), True),
        ((build_cicp(P3, SRGB_TRANSFER, full_range=0),), False),
    ],
)
def test_color_chunks_of_png_count_in_the_order_of_the_standard(
    chunks: tuple[bytes, ...], is_converted: bool, tmp_path: Path
) -> None:
    color = (60, 180, 90)

    converted = read_color_of(tmp_path, build_png(color, *chunks))

    assert converted == pytest.approx(P3_TO_SRGB[color] if is_converted else color, abs=2)


@pytest.mark.parametrize("gamma", [1.0, 0.55556, 0.3])
@pytest.mark.parametrize("chunks", [(), (SRGB_CHRM,)])
def test_gamma_of_png_is_applied(gamma: float, chunks: tuple[bytes, ...], tmp_path: Path) -> None:
    content = build_png((30, 120, 220), build_gama(gamma), *chunks)

    expected = [encode_srgb((value / 255) ** (1 / gamma)) for value in (30, 120, 220)]
    assert read_color_of(tmp_path, content) == pytest.approx(expected, abs=1)


def test_gamma_is_applied_to_gray_that_stays_gray(tmp_path: Path) -> None:
    content = Png(8, GRAY, (build_gama(1.0),)).build(fill(16, 16, 55))

    with open_image(write_file(tmp_path, content), ImageLimits()) as source:
        pixels = source.read_still()

    assert pixels.mode == "L"
    assert pixels.getpixel((0, 0)) == pytest.approx(encode_srgb(55 / 255), abs=1)


def test_colors_of_animation_are_converted(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in P3_TO_SRGB]
    profile = build_coded_profile(P3, SRGB_TRANSFER)
    content = encode_image(
        frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True, icc_profile=profile
    )

    pipeline = Pipeline(tmp_path)
    pipeline.run(content + b"\0" * 9999, ImageOptions(min_score=-100))

    output = pipeline.open_output()
    assert "icc_profile" not in output.info
    for index, expected in enumerate(P3_TO_SRGB.values()):
        output.seek(index)
        assert output.convert("RGB").getpixel((5, 5)) == pytest.approx(expected, abs=9)


def set_avif_colors(content: bytes, primaries: int, transfer: int) -> bytes:
    """Replace the code points that libavif writes, wherever they are."""
    written = b"nclx" + struct.pack(">HH", BT709, SRGB_TRANSFER)
    assert written in content
    return content.replace(written, b"nclx" + struct.pack(">HH", primaries, transfer))


@pytest.mark.parametrize("is_animated", [False, True])
def test_avif_is_converted_by_its_code_points(is_animated: bool, tmp_path: Path) -> None:
    color, expected = (200, 60, 60), P3_TO_SRGB[200, 60, 60]
    frames = [Image.new("RGB", (64, 64), color)] * (2 if is_animated else 1)
    content = encode_image(frames[0], "AVIF", save_all=True, append_images=frames[1:], quality=100)

    with open_image(write_file(tmp_path, set_avif_colors(content, P3, 13)), ImageLimits()) as source:
        pixels = next(source.read_frames()).pixels if is_animated else source.read_still()

    assert pixels.convert("RGB").getpixel((9, 9)) == pytest.approx(expected, abs=5)


def test_color_of_another_item_of_avif_does_not_count(tmp_path: Path) -> None:
    still = encode_image(Image.new("RGB", (64, 64), (200, 60, 60)), "AVIF", quality=100)
    gain_map_color = build_box(b"colr", b"nclx" + struct.pack(">HHHB", BT2020, PQ, 0, 0x80))
    content = AvifFile(still, properties=gain_map_color).build()

    color = read_color(content, "avif")

    assert (color.profile, color.is_hdr) == (None, False)
    assert read_color_of(tmp_path, content) == pytest.approx((200, 60, 60), abs=5)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize("primaries", [BT709, BT2020])
def test_hdr_png_is_kept(transfer: int, primaries: int, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    photo = encode_image(make_photo(200, 150))
    text = build_chunk(b"tEXt", b"place\0secret")
    light = build_chunk(b"cLLI", struct.pack(">II", 10_000_000, 2_000_000))
    content = photo[:33] + build_cicp(primaries, transfer) + light + text + photo[33:]

    result = pipeline.run(content)

    assert (result.outcome, result.reason, result.format) == (ImageOutcome.UNMODIFIED, "hdr", "png")
    stored = pipeline.output.read_bytes()
    assert stored == content.replace(text, b"")


def test_hdr_avif_is_kept(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path)
    content = set_avif_colors(encode_image(make_photo(200, 150), "AVIF", quality=95), BT2020, PQ)

    result = pipeline.run(content)

    assert (result.outcome, result.reason, result.sha256) == (ImageOutcome.UNMODIFIED, "hdr", "")
    assert result.is_source_publishable


def test_profile_with_hdr_code_points_is_hdr() -> None:
    profile = build_coded_profile(BT2020, SRGB_TRANSFER)
    assert profile is not None
    tag = b"cicp\0\0\0\0" + bytes((BT2020, PQ, 0, 1))
    count = int.from_bytes(profile[128:132])
    entry = struct.pack(">4sII", b"cicp", len(profile) + 12, len(tag))
    content = profile[:128] + (count + 1).to_bytes(4) + entry + profile[132:] + tag

    assert read_color(b"\xff\xd8\xff", "jpeg", content).is_hdr
    assert not read_color(b"\xff\xd8\xff", "jpeg", profile).is_hdr


@pytest.mark.parametrize(("transfer", "white"), [(PQ, round(0.5807 * 255)), (HLG, round(0.75 * 255))])
def test_hdr_is_mapped_for_thumbnail(transfer: int, white: int, tmp_path: Path) -> None:
    """Diffuse white (BT.2408, table 1: 58 % PQ, 75 % HLG) is shown white, black black, brighter white."""
    for value, expected in ((0, 0), (white, 255), (255, 255)):
        content = build_png((value, value, value), build_cicp(BT2020, transfer))

        assert read_color_of(tmp_path, content) == pytest.approx((expected,) * 3, abs=4)
    middle = read_color_of(tmp_path, build_png((white // 2,) * 3, build_cicp(BT2020, transfer)))
    assert 30 < middle[0] < 200


@pytest.mark.parametrize("codes", [(3, 13), (99, 13), (1, 99), (1, 13), (2, 2), (1, 9)])
def test_code_points_without_meaning_and_srgb_have_no_profile(codes: tuple[int, int]) -> None:
    assert build_coded_profile(*codes) is None
