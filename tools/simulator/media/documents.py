"""Files that are not raster images: sound, video, vector drawings, archives, text, raw bytes."""

import json
import math
import struct
import wave
import zipfile
from array import array
from collections.abc import Callable
from io import BytesIO
from random import Random

from tools.simulator.media.spec import MediaSpec

type Generator = Callable[[MediaSpec, Random], bytes]


def generate_wav(spec: MediaSpec, rng: Random) -> bytes:
    """Return a chord: 32 kHz, 16 bits, mono."""
    rate = 32_000
    tones = [rng.choice((220, 277, 330, 440, 554, 660)) for _ in range(3)]
    samples = array("h")
    for position in range(int(rate * spec.seconds)):
        value = sum(math.sin(2 * math.pi * tone * position / rate) for tone in tones)
        samples.append(int(value / 3 * 20_000))
    target = BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(samples.tobytes())
    return target.getvalue()


def generate_mp3(spec: MediaSpec, _: Random) -> bytes:
    """Return silent MPEG-1 layer III frames (128 kbit/s, 44.1 kHz: 417 bytes, 26 ms each)."""
    frame = b"\xff\xfb\x90\x64" + bytes(413)
    return frame * max(1, int(spec.seconds / 0.026))


def generate_mp4(spec: MediaSpec, rng: Random) -> bytes:
    """Return an ISO base media file: `ftyp`, `moov` with a movie header, and `mdat` of half a megabyte."""
    movie = struct.pack(">IIIIIIH10x", 0, 0, 0, 1000, int(spec.seconds * 1000), 0x00010000, 0x0100)
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    header = _build_box(b"mvhd", movie + matrix + bytes(24) + struct.pack(">I", 2))
    brand = _build_box(b"ftyp", b"isom\x00\x00\x02\x00isomiso2avc1mp41")
    return brand + _build_box(b"moov", header) + _build_box(b"mdat", rng.randbytes(524_288))


def generate_svg(spec: MediaSpec, rng: Random) -> bytes:
    """Return a drawing of 40 circles."""
    circles = "".join(
        f'<circle cx="{rng.randrange(spec.width)}" cy="{rng.randrange(spec.height)}" '
        f'r="{rng.randrange(4, 90)}" '
        f'fill="#{rng.randrange(1 << 24):06x}"/>'
        for _ in range(40)
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {spec.width} {spec.height}">'
    return f"{head}{circles}</svg>\n".encode()


def generate_zip(spec: MediaSpec, rng: Random) -> bytes:
    """Return a ZIP archive of a text and a binary member."""
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("readme.txt", generate_text(spec, rng))
        members.writestr("weights.bin", rng.randbytes(spec.size))
    return target.getvalue()


def generate_glb(_: MediaSpec, rng: Random) -> bytes:
    """Return a binary glTF container with an empty scene (glTF 2.0, section 4.4)."""
    scene = json.dumps({"asset": {"version": "2.0"}, "scenes": [{}]}).encode()
    scene += b" " * (-len(scene) % 4)
    data = rng.randbytes(4096)
    chunks = (
        struct.pack("<I4s", len(scene), b"JSON") + scene + struct.pack("<I4s", len(data), b"BIN\x00") + data
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def generate_text(spec: MediaSpec, rng: Random) -> bytes:
    """Return plain text, some of it not ASCII, of at most `size` bytes and a newline."""
    words = ("light", "river", "stone", "window", "garden", "müde", "東京", "paper", "signal")
    sentence = " ".join(rng.choice(words) for _ in range(max(1, spec.size // 12)))
    return sentence.encode()[: spec.size].decode(errors="ignore").encode() + b"\n"


def generate_json(_: MediaSpec, rng: Random) -> bytes:
    """Return a JSON object."""
    return json.dumps({"seed": rng.randrange(1 << 31), "labels": ["cat", "sofa"]}).encode()


def generate_bytes(spec: MediaSpec, rng: Random) -> bytes:
    """Return `size` random bytes."""
    return rng.randbytes(spec.size)


def _build_box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload) + 8) + name + payload


DOCUMENT_GENERATORS: dict[str, Generator] = {
    "wav": generate_wav,
    "mp3": generate_mp3,
    "mp4": generate_mp4,
    "svg": generate_svg,
    "zip": generate_zip,
    "glb": generate_glb,
    "txt": generate_text,
    "md": generate_text,
    "json": generate_json,
    "bin": generate_bytes,
}
