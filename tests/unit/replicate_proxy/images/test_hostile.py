"""A thousand odd and broken files through the child process: each ends in time and memory, and the child goes
on.

The files are made from seeds, the same on every machine: truncations, bit flips, spliced and repeated pieces,
header fields set to extremes, bombs, polyglots, wrong and empty content. (Pillow's own test images may not be
copied here.)
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
from replicate_proxy.images.task import ImageLimits, ImageResult
from replicate_proxy.outputs.file_types import detect_file_type
from tests.support.pictures import encode_image, make_animation, make_photo, write_file

FLOOR = 1000
SECONDS = 30
MEGABYTES = 400
COMPRESSIBLE = {"image/png", "image/jpeg", "image/webp", "image/avif", "image/gif"}


def seeds() -> dict[str, bytes]:
    """Small sound files of every allowed kind."""
    still = make_photo(60, 44)
    return {
        "png": encode_image(still),
        "png-palette": encode_image(still.quantize(64)),
        "png-alpha": encode_image(make_photo(60, 44, mode="RGBA")),
        "png-grey": encode_image(make_photo(60, 44, mode="L")),
        "apng": make_animation(3, "PNG", size=(40, 30)),
        "jpeg": encode_image(
            still, "JPEG", icc_profile=b"\0" * 200, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"
        ),
        "jpeg-progressive": encode_image(still, "JPEG", progressive=True),
        "jpeg-cmyk": encode_image(still.convert("CMYK"), "JPEG"),
        "mpo": encode_image(still, "MPO", save_all=True, append_images=[make_photo(60, 44, seed=2)]),
        "webp": encode_image(still, "WEBP"),
        "webp-lossless": encode_image(still, "WEBP", lossless=True),
        "webp-moving": make_animation(3, "WEBP", size=(40, 30)),
        "avif": encode_image(still, "AVIF", speed=10),
        "avif-moving": make_animation(2, "AVIF", size=(40, 30)),
        "gif": encode_image(still, "GIF"),
        "gif-moving": make_animation(3, "GIF", size=(40, 30)),
    }


def damaged(content: bytes, random_numbers: random.Random) -> bytes:
    """One of the ways in which files go wrong or are made to."""
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
            at = random_numbers.randrange(len(data) - 4)
            data[at : at + 4] = random_numbers.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"))
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


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of hand-made chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join((chunk(b"IHDR", header), *chunks, chunk(b"IEND", b"")))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def bombs() -> Iterator[bytes]:
    """Little files that ask for a lot."""
    for width, height in ((65_500, 65_500), (1, 2**31 - 1), (2**31 - 1, 1), (7_000, 7_001), (0, 0)):
        yield png(width, height, chunk(b"IDAT", zlib.compress(b"\0" * 100_000)))
    zeros = zlib.compress(b"\0" * (6_900 * (6_900 * 3 + 1)), 9)
    yield png(6_900, 6_900, chunk(b"IDAT", zeros))
    text = zlib.compress(b"x" * 40_000_000, 9)
    pixel = chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
    yield png(1, 1, chunk(b"zTXt", b"a\0\0" + text), pixel)
    yield png(1, 1, chunk(b"iTXt", b"a\0\1\0\0\0" + text), pixel)
    yield png(1, 1, chunk(b"iCCP", b"a\0\0" + text), pixel)
    yield png(1, 1, *(chunk(b"tEXt", b"%d\0" % index + b"x" * 1000) for index in range(8000)), pixel)
    yield png(1, 1, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), pixel)
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


def polyglots() -> Iterator[bytes]:
    """Files that are two things, and things that are no image at all."""
    sound = seeds()
    script = b"<html><script>alert(1)</script><svg onload=alert(1)>"
    for content in sound.values():
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
    yield from (
        encode_image(make_photo(), kind)
        for kind in ("BMP", "TIFF", "ICO", "PPM", "TGA", "PCX", "SGI", "JPEG2000")
    )


def corpus() -> list[bytes]:
    files = [*bombs(), *polyglots()]
    sound = list(seeds().values())
    files.extend(damaged(sound[index % len(sound)], random.Random(index)) for index in range(FLOOR))
    return files


@pytest.mark.timeout(600)
def test_a_thousand_hostile_files_end_in_time_and_memory_and_the_child_goes_on(tmp_path: Path) -> None:
    files = corpus()
    assert len(files) >= FLOOR
    pool = ImageWorkerPool(limits=ImageLimits())
    outcomes: collections.Counter[str] = collections.Counter()
    peak = longest = 0.0
    try:
        for content in files:
            began = time.monotonic()
            result = run(pool, tmp_path, content)
            longest = max(longest, time.monotonic() - began)
            peak = max(peak, peak_megabytes())
            outcomes[result.reason or result.outcome] += 1
            check(result, content, tmp_path)
        assert run(pool, tmp_path, seeds()["png"]).outcome == "compressed"
    finally:
        pool.close()
    print(f"{len(files)} files, longest {longest:.2f} s, peak {peak:.0f} MB, {dict(outcomes)}")  # noqa: T201 - told with -s
    assert longest < SECONDS
    assert peak < MEGABYTES
    assert outcomes["worker_crashed"] == 0
    assert outcomes["time_limit"] == 0
    assert outcomes["broken"] > FLOOR / 10
    assert outcomes["compressed"] > FLOOR / 100


def run(pool: ImageWorkerPool, folder: Path, content: bytes) -> ImageResult:
    (folder / "out").unlink(missing_ok=True)
    return pool.compress(write_file(folder, content), folder / "out", folder / "small", ImageOptions())


def peak_megabytes() -> float:
    """The highest memory that the running child ever had resident; on macOS what it has now."""
    children = psutil.Process().children()
    if not children:
        # It ran into its memory wall and was ended; the wall itself is tested with the pool.
        return 0.0
    child = children[-1]
    status = Path(f"/proc/{child.pid}/status")
    if not status.exists():
        return child.memory_info().rss / 2**20
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def check(result: ImageResult, content: bytes, folder: Path) -> None:
    """Stored or clearly refused; and what is stored is an image of ours with nothing else in it."""
    assert result.outcome in {"compressed", "unmodified", "unreadable"}
    if result.outcome == "unreadable":
        assert result.reason
        return
    if not result.sha256:
        return
    output = (folder / "out").read_bytes()
    assert len(output) <= len(content)
    assert detect_file_type(output).content_type in COMPRESSIBLE
    assert b"<script" not in output
