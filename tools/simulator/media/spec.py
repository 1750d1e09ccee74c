"""What an output file should be like."""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

IMAGE_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
}
OTHER_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "svg": "image/svg+xml",
    "zip": "application/zip",
    "glb": "model/gltf-binary",
    "txt": "text/plain; charset=utf-8",
    "md": "text/markdown",
    "json": "application/json",
    "bin": "application/octet-stream",
}
KINDS = IMAGE_TYPES | OTHER_TYPES
LARGEST_SIDE = 8192  # pixels

type Mode = Literal["RGB", "RGBA", "L", "P", "CMYK", "I;16"]
type Origin = Literal["delivery", "third-party", "data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSpec:
    """Decides the bytes. Sizes in pixels, `seconds` of sound, `size` in bytes (text and bin only)."""

    kind: str = "png"
    width: int = 1024
    height: int = 1024
    mode: Mode = "RGB"
    frames: int = 1
    orientation: int | None = None
    quality: int = 80
    seconds: float = 2.0
    size: int = 65_536
    corrupt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file inside a model's output; `name` defaults to `out-<index>.<kind>`."""

    media: MediaSpec = MediaSpec()
    name: str | None = None
    origin: Origin = "delivery"
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Blob:
    """Finished bytes; `etag` is their MD5 in hex, as Google Cloud Storage gives it."""

    body: bytes
    content_type: str
    etag: str

    @classmethod
    def of(cls, body: bytes, content_type: str) -> "Blob":
        """A blob with its etag computed."""
        return cls(body, content_type, hashlib.md5(body, usedforsecurity=False).hexdigest())


def output_file(description: dict[str, Any]) -> OutputFile:
    """The file that `{"$file": kind, …}` describes; TypeError or ValueError for an unknown or wrong field."""
    fields = {key: value for key, value in description.items() if key != "$file"}
    outer = {key: fields.pop(key) for key in ("name", "origin", "content_type") if key in fields}
    media = MediaSpec(kind=str(description["$file"]), **fields)
    if media.kind not in KINDS:
        raise ValueError(f"$file must be one of {', '.join(sorted(KINDS))}")
    if not (0 < media.width <= LARGEST_SIDE and 0 < media.height <= LARGEST_SIDE):
        raise ValueError(f"width and height must be between 1 and {LARGEST_SIDE}")
    return OutputFile(media=media, **outer)
