"""More than a thousand broken and malicious files, processed within time and memory by one child process.

All files are made from seeds, the same on every machine: truncations, bit flips, spliced and repeated pieces,
extreme header fields, decompression bombs, polyglots, empty and unrelated content. (Pillow's own test images
may not be copied here.)
"""

from __future__ import annotations

import collections
import random
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from replicate_proxy.images.options import ImageOptions
from replicate_proxy.images.pool import ImageWorkerPool
from replicate_proxy.images.task import ImageLimits, ImageOutcome, ImageResult
from replicate_proxy.outputs.file_types import detect_file_type
from tests.support.images import encode_image, make_animation, make_photo, write_file

MIN_FILES = 1000
MAX_SECONDS = 30
MAX_MEGABYTES = 400
COMPRESSIBLE_TYPES = {"image/png", "image/jpeg", "image/webp", "image/avif", "image/gif"}


def make_valid_files() -> dict[str, bytes]:
    """Return small valid files of every allowed kind."""
    photo = make_photo(60, 44)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"
    return {
        "png": encode_image(photo),
        "png-palette": encode_image(photo.quantize(64)),
        "png-alpha": encode_image(make_photo(60, 44, mode="RGBA")),
        "png-gray": encode_image(make_photo(60, 44, mode="L")),
        "apng": make_animation(3, "PNG", size=(40, 30)),
        "jpeg": encode_image(photo, "JPEG", icc_profile=b"\0" * 200, exif=exif),
        "jpeg-progressive": encode_image(photo, "JPEG", progressive=True),
        "jpeg-cmyk": encode_image(photo.convert("CMYK"), "JPEG"),
        "mpo": encode_image(photo, "MPO", save_all=True, append_images=[make_photo(60, 44, seed=2)]),
        "webp": encode_image(photo, "WEBP"),
        "webp-lossless": encode_image(photo, "WEBP", lossless=True),
        "webp-animated": make_animation(3, "WEBP", size=(40, 30)),
        "avif": encode_image(photo, "AVIF", speed=10),
        "avif-animated": make_animation(2, "AVIF", size=(40, 30)),
        "gif": encode_image(photo, "GIF"),
        "gif-animated": make_animation(3, "GIF", size=(40, 30)),
    }


def damage(content: bytes, random_numbers: random.Random) -> bytes:
    """Damage the file in one of seven ways."""
    data = bytearray(content)
    match random_numbers.randrange(7):
        case 0:
            return bytes(data[: random_numbers.randrange(len(data))])
        case 1:
            for _ in range(random_numbers.choice((1, 4, 32))):
                data[random_numbers.randrange(len(data))] ^= 1 << random_numbers.randrange(8)
        case 2:
            for _ in range(4):
                data[random_numbers.randrange(min(200, len(data)))] = random_numbers.choice(
                    (0, 0x7F, 0x80, 0xFF)
                )
        case 3:
            position = random_numbers.randrange(len(data) - 4)
            data[position : position + 4] = random_numbers.choice(
                (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0")
            )
        case 4:
            start = random_numbers.randrange(len(data))
            piece = data[start : start + random_numbers.randrange(1, 400)]
            data[start:start] = piece * random_numbers.choice((1, 3, 50))
        case 5:
            start = random_numbers.randrange(len(data))
            del data[start : start + random_numbers.randrange(1, 200)]
        case _:
            start = random_numbers.randrange(len(data))
            data[start:] = random_numbers.randbytes(len(data) - start)
    return bytes(data)


def build_png(width: int, height: int, *chunks: bytes, depth: int = 8, color_type: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    all_chunks = (build_png_chunk(b"IHDR", header), *chunks, build_png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(all_chunks)


def build_png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def make_bombs() -> Iterator[bytes]:
    """Yield small files that ask for much memory or time."""
    for width, height in ((65_500, 65_500), (1, 2**31 - 1), (2**31 - 1, 1), (7_000, 7_001), (0, 0)):
        yield build_png(width, height, build_png_chunk(b"IDAT", zlib.compress(b"\0" * 100_000)))
    zeros = zlib.compress(b"\0" * (6_900 * (6_900 * 3 + 1)), 9)
    yield build_png(6_900, 6_900, build_png_chunk(b"IDAT", zeros))
    text = zlib.compress(b"x" * 40_000_000, 9)
    pixel = build_png_chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
    yield build_png(1, 1, build_png_chunk(b"zTXt", b"a\0\0" + text), pixel)
    yield build_png(1, 1, build_png_chunk(b"iTXt", b"a\0\1\0\0\0" + text), pixel)
    yield build_png(1, 1, build_png_chunk(b"iCCP", b"a\0\0" + text), pixel)
    texts = (build_png_chunk(b"tEXt", b"%d\0" % index + b"x" * 1000) for index in range(8000))
    yield build_png(1, 1, *texts, pixel)
    yield build_png(1, 1, build_png_chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), pixel)
    yield (
        b"GIF89a"
        + struct.pack("<HH", 65_535, 65_535)
        + b"\xf7\0\0"
        + b"\0" * 768
        + b",\0\0\0\0\xff\xff\xff\xff\0\x08\0;"
    )
    frame = b"!\xf9\4\0\1\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    yield b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * 20_000 + b";"
    jfif = b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    yield jfif + b"\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x11\0\2\x11\0\3\x11\0\xff\xd9"
    yield b"RIFF\xff\xff\xff\xffWEBPVP8X\n\0\0\0\2\0\0\0\xff\xff\xff\xff\xff\xff"
    yield b"RIFF\x1a\0\0\0WEBPVP8L\r\0\0\0\x2f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"


def make_polyglots() -> Iterator[bytes]:
    """Yield files that are valid in two formats, and files that are not images."""
    script = b"<html><script>alert(1)</script><svg onload=alert(1)>"
    for content in make_valid_files().values():
        yield content + script
        yield content + b"PK\x03\x04" + b"\0" * 40
        yield script + content
        yield content[:20] + script + content[20:]
    yield from (
        b"",
        b"\0",
        b"\0" * 5000,
        b"\xff" * 5000,
        script,
        b"%PDF-1.4\n%",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
    )
    other_formats = ("BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "SGI", "JPEG2000")
    yield from (encode_image(make_photo(), name) for name in other_formats)


def make_corpus() -> list[bytes]:
    files = [*make_bombs(), *make_polyglots()]
    valid = list(make_valid_files().values())
    files.extend(damage(valid[index % len(valid)], random.Random(index)) for index in range(MIN_FILES))
    return files


def compress(pool: ImageWorkerPool, folder: Path, content: bytes) -> ImageResult:
    (folder / "output").unlink(missing_ok=True)
    source = write_file(folder, content)
    # Half of the requests accept AVIF, so that both encoders meet every kind of file.
    options = ImageOptions(accepts_avif=len(content) % 2 == 0)
    return pool.compress(source, folder / "output", folder / "thumbnail", options)


def measure_peak_megabytes() -> float:
    """Return the highest resident memory of the child so far; on macOS its current resident memory."""
    children = psutil.Process().children()
    if not children or children[-1].status() == psutil.STATUS_ZOMBIE:
        # The child exceeded its memory limit and was ended; test_pool.py tests the limit itself.
        return 0.0
    child = children[-1]
    status = Path(f"/proc/{child.pid}/status")
    if not status.exists():
        return child.memory_info().rss / 2**20
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def check_result(result: ImageResult, content: bytes, folder: Path) -> None:
    """Check that a refused file has a reason, and that an output file is a smaller image without script."""
    if result.outcome is ImageOutcome.UNREADABLE:
        assert result.reason
        return
    if not result.sha256:
        return
    output = (folder / "output").read_bytes()
    assert len(output) <= len(content)
    assert detect_file_type(output).content_type in COMPRESSIBLE_TYPES
    assert b"<script" not in output


@pytest.mark.timeout(600)
def test_pool_processes_hostile_files_within_time_and_memory(tmp_path: Path) -> None:
    files = make_corpus()
    assert len(files) >= MIN_FILES
    pool = ImageWorkerPool(limits=ImageLimits())
    counts: collections.Counter[str] = collections.Counter()
    peak_megabytes = longest_seconds = 0.0
    try:
        for content in files:
            start = time.monotonic()
            result = compress(pool, tmp_path, content)
            longest_seconds = max(longest_seconds, time.monotonic() - start)
            peak_megabytes = max(peak_megabytes, measure_peak_megabytes())
            counts[result.reason or result.outcome] += 1
            check_result(result, content, tmp_path)
        assert compress(pool, tmp_path, make_valid_files()["png"]).outcome is ImageOutcome.COMPRESSED
    finally:
        pool.close()
    print(  # noqa: T201 - shown with -s
        f"{len(files)} files, longest {longest_seconds:.2f} s, peak {peak_megabytes:.0f} MB, {dict(counts)}"
    )
    assert longest_seconds < MAX_SECONDS
    assert peak_megabytes < MAX_MEGABYTES
    assert counts["worker_crashed"] == 0
    assert counts["time_limit"] == 0
    assert counts["broken"] > MIN_FILES / 10
    assert counts["compressed"] > MIN_FILES / 100
