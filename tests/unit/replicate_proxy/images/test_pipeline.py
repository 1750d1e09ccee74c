"""Each kind of image from file to file, in this process."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageStat, PngImagePlugin

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pipeline import process_image
from replicate_proxy.images.task import ImageLimits, ImageResult, ImageTask
from tests.support.pictures import decode_frames, encode_image, make_animation, make_photo, write_file


class Bench:
    """Runs the pipeline on bytes and gives result, output image and thumbnail."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.thumbnail = folder / "thumbnail"

    def run(
        self, source: bytes, options: ImageOptions | None = None, limits: ImageLimits | None = None
    ) -> ImageResult:
        path = write_file(self.folder, source)
        return process_image(
            ImageTask(path, self.output, self.thumbnail, options or ImageOptions(), limits or ImageLimits())
        )

    def stored(self) -> Image.Image:
        return Image.open(io.BytesIO(self.output.read_bytes()))

    def small(self) -> Image.Image:
        return Image.open(io.BytesIO(self.thumbnail.read_bytes()))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of a channel, 0–255."""
    return max(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean)


@pytest.mark.parametrize("wanted", ["webp", "avif", "jpeg"])
@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "AVIF", "GIF"])
def test_every_allowed_format_becomes_the_one_asked_for(bench: Bench, source: str, wanted: Any) -> None:
    finest: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 100},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 99},
    }
    original = make_photo(320, 240)

    result = bench.run(encode_image(original, source, **finest.get(source, {})), ImageOptions(format=wanted))

    assert (result.outcome, result.format) == ("compressed", wanted)
    assert result.bytes_after < result.bytes_before
    assert (result.width, result.height) == (320, 240)
    stored = bench.stored()
    assert (stored.format or "").lower() == wanted
    assert difference(original, stored) < (16 if source == "GIF" else 6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_png_mode_looks_the_same_afterwards(bench: Bench, mode: str) -> None:
    original = {
        "1": lambda: make_photo(200, 150, mode="L").convert("1"),
        "P": lambda: make_photo(200, 150).quantize(200),
        "I;16": wide_grey,
    }.get(mode, lambda: make_photo(200, 150, mode=mode))()

    result = bench.run(encode_image(original))

    assert result.outcome == "compressed"
    expected = make_photo(200, 150, mode="L") if mode == "I;16" else original
    flat = Image.alpha_composite(Image.new("RGBA", expected.size, "white"), expected.convert("RGBA"))
    got = Image.alpha_composite(Image.new("RGBA", expected.size, "white"), bench.stored().convert("RGBA"))
    assert difference(flat, got) < 8


def wide_grey() -> Image.Image:
    """The grey photo with sixteen bits a pixel."""
    return make_photo(200, 150, mode="L").convert("I").point(lambda value: value * 257).convert("I;16")


def test_transparency_is_kept_and_an_opaque_alpha_channel_is_not(bench: Bench) -> None:
    bench.run(encode_image(make_photo(200, 150, mode="RGBA")))
    assert bench.stored().mode == "RGBA"

    opaque = make_photo(200, 150)
    opaque.putalpha(255)
    bench.run(encode_image(opaque))
    assert bench.stored().mode == "RGB"


def test_a_transparent_image_does_not_become_jpeg(bench: Bench) -> None:
    result = bench.run(encode_image(make_photo(200, 150, mode="RGBA")), ImageOptions(format="jpeg"))

    assert result.format == "webp"
    assert bench.stored().mode == "RGBA"


def test_cmyk_becomes_rgb(bench: Bench) -> None:
    original = make_photo(200, 150)

    result = bench.run(encode_image(original.convert("CMYK"), "JPEG", quality=100))

    assert result.outcome == "compressed"
    assert difference(original, bench.stored()) < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_picture_is_upright_without_the_note_that_turned_it(bench: Bench, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    original = make_photo(200, 120)

    result = bench.run(encode_image(original, "JPEG", quality=100, exif=exif))

    assert (result.width, result.height) == ((120, 200) if orientation >= 5 else (200, 120))
    stored = bench.stored()
    assert not stored.getexif()
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    upright = original if orientation == 1 else original.transpose(turns[orientation])
    assert difference(upright, stored) < 6


def test_a_wide_gamut_is_converted_to_srgb(bench: Bench) -> None:
    """The source says that its red is green: in sRGB the channels must have changed places."""
    original = make_photo(200, 150)

    result = bench.run(encode_image(original, "PNG", icc_profile=swapped_profile()))

    assert result.outcome == "compressed"
    stored = bench.stored()
    assert "icc_profile" not in stored.info
    red, green, blue = original.split()
    assert difference(Image.merge("RGB", (green, red, blue)), stored) < 12


def swapped_profile() -> bytes:
    """sRGB with its red and green primaries exchanged: any viewer that heeds it shows other colours."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = bytearray(
        profile.replace(b"sRGB", b"swap").replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    )
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132]), 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = (
        data[green + 4 : green + 12],
        data[red + 4 : red + 12],
    )
    return bytes(data)


def test_a_broken_profile_is_ignored(bench: Bench) -> None:
    original = make_photo(200, 150)

    result = bench.run(encode_image(original, icc_profile=b"no profile at all" * 20))

    assert result.outcome == "compressed"
    assert difference(original, bench.stored()) < 6


@pytest.mark.parametrize(
    ("source", "wanted"), [("GIF", "webp"), ("PNG", "webp"), ("WEBP", "webp"), ("GIF", "avif")]
)
def test_what_moves_keeps_moving(bench: Bench, source: str, wanted: Any) -> None:
    extra = make_animation(5, source, size=(160, 120))

    result = bench.run(extra, ImageOptions(format=wanted, min_similarity=0))

    assert result.frame_count == 5
    if result.outcome == "compressed":
        stored = bench.stored()
        assert getattr(stored, "n_frames", 1) == 5
        stored.seek(1)
        stored.load()
        assert stored.info["duration"] in {80, 79, 81}
    else:
        assert result.reason == "not_smaller"
    assert bench.small().size == (160, 120)


def test_a_moving_picture_asked_for_as_jpeg_becomes_webp(bench: Bench) -> None:
    result = bench.run(
        make_animation(4, "PNG", size=(160, 120)), ImageOptions(format="jpeg", min_similarity=0)
    )

    assert result.format == "webp"
    assert getattr(bench.stored(), "n_frames", 1) == 4


def test_a_jpeg_with_further_pictures_is_a_jpeg(bench: Bench) -> None:
    first, second = make_photo(200, 150, seed=1), make_photo(200, 150, seed=2)

    result = bench.run(encode_image(first, "MPO", save_all=True, append_images=[second], quality=98))

    assert (result.outcome, result.source_format, result.frame_count) == ("compressed", "jpeg", 1)
    assert difference(first, bench.stored()) < 6


def test_models_texts_are_told_and_stripped(bench: Bench) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", "a cat in the rain")
    info.add_text("seed", "42", zip=True)
    info.add_itxt("parameters", "Größe: 512")

    result = bench.run(encode_image(make_photo(200, 150), pnginfo=info))

    assert result.text == {"prompt": "a cat in the rain", "seed": "42", "parameters": "Größe: 512"}
    assert b"cat" not in bench.output.read_bytes()


def test_a_user_comment_is_a_text_too(bench: Bench) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + "seed: 7, prompt: é".encode("utf-16-be")

    result = bench.run(encode_image(make_photo(200, 150), "JPEG", quality=98, exif=exif))

    assert result.text["exif:UserComment"] == "seed: 7, prompt: é"


def test_long_texts_are_cut_and_say_so(bench: Bench) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 50_000)
    info.add_text("seed", "1")

    result = bench.run(
        encode_image(make_photo(200, 150), pnginfo=info), limits=ImageLimits(max_text_bytes=1000)
    )

    assert sum(len(k.encode()) + len(v.encode()) for k, v in result.text.items()) <= 1000
    assert result.text["workflow"].endswith("(cut)")


def gps_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x8298] = "(c) A. Person"
    exif[0x013B] = "A. Person"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return exif


@pytest.mark.parametrize("wanted", ["webp", "avif", "jpeg"])
@pytest.mark.parametrize("keep", [False, True])
def test_position_goes_and_copyright_stays_if_wished(bench: Bench, wanted: Any, keep: bool) -> None:
    options = ImageOptions(format=wanted, keep_copyright=keep)

    bench.run(encode_image(make_photo(200, 150), "PNG", exif=gps_exif()), options)

    kept = bench.stored().getexif()
    assert not kept.get_ifd(0x8825)
    assert kept.get(0x8298) == ("(c) A. Person" if keep else None)
    assert set(kept) <= {0x8298, 0x013B}


@pytest.mark.parametrize("source", ["JPEG", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_file_that_is_kept_loses_its_position_as_well(bench: Bench, source: str, keep: bool) -> None:
    """Given a floor that no encoder reaches, when a file is kept, its pixels stay and its metadata go."""
    exif = gps_exif()
    exif[0x0112] = 6
    content = encode_image(
        make_photo(200, 150), source, exif=exif, **({} if source == "PNG" else {"quality": 5})
    )

    result = bench.run(content, ImageOptions(min_similarity=1.0, keep_copyright=keep))

    assert (result.outcome, result.reason) == ("unmodified", "below_min_similarity")
    stored = bench.stored()
    assert not stored.getexif().get_ifd(0x8825)
    assert stored.getexif().get(0x8298) == ("(c) A. Person" if keep else None)
    assert (b"A. Person" in bench.output.read_bytes()) == keep
    assert stored.tobytes() == Image.open(io.BytesIO(content)).tobytes()
    assert stored.getexif()[0x0112] == 6
    assert result.bytes_after == len(bench.output.read_bytes()) <= result.bytes_before
    assert result.sha256 == hashlib.sha256(bench.output.read_bytes()).hexdigest()


@pytest.mark.parametrize("source", ["GIF", "AVIF"])
def test_what_moves_and_is_kept_loses_its_texts_as_well(bench: Bench, source: str) -> None:
    told: dict[str, Any] = {"GIF": {"comment": b"A. Person"}, "AVIF": {"exif": gps_exif()}}
    content = make_animation(3, source, **told[source])

    result = bench.run(content, ImageOptions(min_similarity=1.0))

    assert (result.outcome, result.format, result.frame_count) == ("unmodified", source.lower(), 3)
    assert b"A. Person" in content
    assert b"A. Person" not in bench.output.read_bytes()
    assert decode_frames(bench.output.read_bytes()) == decode_frames(content)


def test_what_follows_the_end_of_a_kept_image_is_cut_off(bench: Bench) -> None:
    content = encode_image(make_photo(100, 80), "JPEG", quality=5) + b"PK\x03\x04<script>alert(1)</script>"

    result = bench.run(content, ImageOptions(quality=100))

    assert result.outcome == "unmodified"
    assert b"script" not in bench.output.read_bytes()


def test_nothing_is_ever_stored_larger_than_it_came(bench: Bench) -> None:
    for seed in range(5):
        source = encode_image(make_photo(200, 150, seed=seed), "WEBP", quality=20)
        result = bench.run(source)
        assert result.bytes_after <= len(source)


def test_original_leaves_the_bytes_alone_but_tells_about_them(bench: Bench) -> None:
    result = bench.run(encode_image(make_photo(400, 300)), ImageOptions(format="original"))

    assert (result.outcome, result.reason, result.sha256) == ("unmodified", "original_requested", "")
    assert not bench.output.exists()
    assert result.placeholder
    assert bench.small().size == (256, 192)


def test_quality_steps_up_until_the_picture_is_like_its_source(bench: Bench) -> None:
    source = encode_image(make_photo(300, 300))
    easy = bench.run(source, ImageOptions(min_similarity=0))
    assert (easy.quality, easy.outcome) == (80, "compressed")
    floor = (easy.similarity or 0) + 0.005

    strict = bench.run(source, ImageOptions(min_similarity=floor))

    assert (strict.quality or 0) > 80
    assert (strict.similarity or 0) >= floor


def test_a_picture_that_no_quality_does_justice_is_kept(bench: Bench) -> None:
    result = bench.run(encode_image(make_photo(200, 150)), ImageOptions(min_similarity=1.0))

    assert (result.outcome, result.reason) == ("unmodified", "below_min_similarity")


def test_a_quality_asked_for_is_taken_at_its_word(bench: Bench) -> None:
    result = bench.run(encode_image(make_photo(200, 150)), ImageOptions(quality=5, min_similarity=0.99))

    assert (result.outcome, result.quality) == ("compressed", 5)
    assert (result.similarity or 1) < 0.99


def test_a_drawing_of_few_colours_loses_nothing(bench: Bench) -> None:
    drawing = make_photo(300, 200).quantize(8).convert("RGB").resize((900, 600), Image.Resampling.NEAREST)

    result = bench.run(encode_image(drawing))

    assert (result.outcome, result.similarity) == ("compressed", 1.0)
    assert bench.stored().convert("RGB").tobytes() == drawing.tobytes()


@pytest.mark.parametrize(
    ("size", "thumbnail"), [((1000, 500), (256, 128)), ((100, 50), (100, 50)), ((3000, 4), (256, 1))]
)
def test_thumbnails_fit_and_are_never_enlarged(
    bench: Bench, size: tuple[int, int], thumbnail: tuple[int, int]
) -> None:
    result = bench.run(encode_image(make_photo(*size)))

    made = bench.small()
    assert (made.format, made.size) == ("WEBP", thumbnail)
    assert result.thumbnail_bytes == bench.thumbnail.stat().st_size


class TestLimits:
    def test_pixels_are_looked_at_before_they_are_decoded(self, bench: Bench) -> None:
        result = bench.run(encode_image(make_photo(200, 150)), limits=ImageLimits(max_pixels=29_999))
        assert (result.outcome, result.reason) == ("unmodified", "too_many_pixels")

    def test_pixels_of_all_frames_count_together(self, bench: Bench) -> None:
        result = bench.run(make_animation(5, "GIF"), limits=ImageLimits(max_pixels=64 * 48 * 5 - 1))
        assert result.reason == "too_many_pixels"

    def test_frames(self, bench: Bench) -> None:
        assert (
            bench.run(make_animation(5, "GIF"), limits=ImageLimits(max_frames=4)).reason == "too_many_frames"
        )

    def test_bytes(self, bench: Bench) -> None:
        assert (
            bench.run(encode_image(make_photo()), limits=ImageLimits(max_bytes=100)).reason
            == "too_many_bytes"
        )

    @pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "PDF"])
    def test_formats_off_the_list_are_not_decoded(self, bench: Bench, kind: str) -> None:
        result = bench.run(encode_image(make_photo(), kind))
        assert (result.outcome, result.reason) == ("unreadable", "format_not_allowed")

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
    def test_a_truncated_file_is_refused(self, bench: Bench, kind: str) -> None:
        whole = encode_image(make_photo(), kind)
        result = bench.run(whole[: len(whole) // 2])
        # Of half an AVIF file not even the header can be read.
        assert result.reason == ("format_not_allowed" if kind == "AVIF" else "broken")
        assert result.outcome == "unreadable"

    def test_a_text_that_unpacks_beyond_measure_is_refused(self, bench: Bench) -> None:
        info = PngImagePlugin.PngInfo()
        info.add_text("bomb", "x" * 3_000_000, zip=True)
        result = bench.run(encode_image(make_photo(), pnginfo=info))
        assert (result.outcome, result.reason) == ("unreadable", "text_limit")

    def test_an_image_too_wide_for_webp_becomes_jpeg(self, bench: Bench) -> None:
        result = bench.run(encode_image(make_photo(17_000, 20)))
        assert (result.outcome, result.format) == ("compressed", "jpeg")
