"""Every other kind of file: sound, video, vector, archives, text, raw bytes."""

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

type Builder = Callable[[MediaSpec, Random], bytes]


def wav(spec: MediaSpec, rng: Random) -> bytes:
    """A chord, 32 kHz 16-bit mono."""
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


def mp3(spec: MediaSpec, _: Random) -> bytes:
    """Silent MPEG-1 layer III frames (128 kbit/s, 44.1 kHz: 417 bytes, 26 ms each)."""
    frame = b"\xff\xfb\x90\x64" + bytes(413)
    return frame * max(1, int(spec.seconds / 0.026))


def mp4(spec: MediaSpec, rng: Random) -> bytes:
    """An ISO base media file: `ftyp`, `moov` with a movie header, and `mdat` of half a megabyte."""
    movie = struct.pack(">IIIIIIH10x", 0, 0, 0, 1000, int(spec.seconds * 1000), 0x00010000, 0x0100)
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    header = _box(b"mvhd", movie + matrix + bytes(24) + struct.pack(">I", 2))
    brand = _box(b"ftyp", b"isom\x00\x00\x02\x00isomiso2avc1mp41")
    return brand + _box(b"moov", header) + _box(b"mdat", rng.randbytes(524_288))


def svg(spec: MediaSpec, rng: Random) -> bytes:
    """A drawing of a few dozen circles."""
    circles = "".join(
        f'<circle cx="{rng.randrange(spec.width)}" cy="{rng.randrange(spec.height)}" '
        f'r="{rng.randrange(4, 90)}" '
        f'fill="#{rng.randrange(1 << 24):06x}"/>'
        for _ in range(40)
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {spec.width} {spec.height}">'
    return f"{head}{circles}</svg>\n".encode()


def archive(spec: MediaSpec, rng: Random) -> bytes:
    """A ZIP of a text and a binary member."""
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("readme.txt", text(spec, rng))
        members.writestr("weights.bin", rng.randbytes(spec.size))
    return target.getvalue()


def glb(_: MediaSpec, rng: Random) -> bytes:
    """A binary glTF container with an empty scene (glTF 2.0, §4.4)."""
    scene = json.dumps({"asset": {"version": "2.0"}, "scenes": [{}]}).encode()
    scene += b" " * (-len(scene) % 4)
    data = rng.randbytes(4096)
    chunks = (
        struct.pack("<I4s", len(scene), b"JSON") + scene + struct.pack("<I4s", len(data), b"BIN\x00") + data
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def text(spec: MediaSpec, rng: Random) -> bytes:
    """Words of plain text, `size` bytes at most."""
    words = ("light", "river", "stone", "window", "garden", "müde", "東京", "paper", "signal")
    sentence = " ".join(rng.choice(words) for _ in range(max(1, spec.size // 12)))
    return sentence.encode()[: spec.size].decode(errors="ignore").encode() + b"\n"


def document(_: MediaSpec, rng: Random) -> bytes:
    """A JSON object."""
    return json.dumps({"seed": rng.randrange(1 << 31), "labels": ["cat", "sofa"]}).encode()


def raw(spec: MediaSpec, rng: Random) -> bytes:
    """Random bytes."""
    return rng.randbytes(spec.size)


def _box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload) + 8) + name + payload


BUILDERS: dict[str, Builder] = {
    "wav": wav,
    "mp3": mp3,
    "mp4": mp4,
    "svg": svg,
    "zip": archive,
    "glb": glb,
    "txt": text,
    "md": text,
    "json": document,
    "bin": raw,
}
