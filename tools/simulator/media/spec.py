"""Specifications of output files: which kind, size and peculiarities a file has, and where it is served."""

from dataclasses import dataclass
from typing import Any, Literal

IMAGE_CONTENT_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
}
CONTENT_TYPES = IMAGE_CONTENT_TYPES | {
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
_MAX_SIDE_PIXELS = 8192

type ImageMode = Literal["RGB", "RGBA", "L", "P", "CMYK", "I;16"]
type Origin = Literal["delivery", "third-party", "data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSpec:
    """Determines the bytes of a file.

    `width` and `height` in pixels, `seconds` of sound or video, `size` in bytes (text and binary only).
    `prompt` and `seed` are those of the prediction (images only).
    """

    kind: str = "png"
    width: int = 1024
    height: int = 1024
    mode: ImageMode = "RGB"
    frames: int = 1
    orientation: int | None = None
    quality: int = 80
    seconds: float = 2.0
    size: int = 65_536
    corrupt: bool = False
    prompt: str = ""
    seed: int | None = None

    @property
    def is_individual(self) -> bool:
        """Whether the file belongs to one prompt or seed."""
        return bool(self.prompt) or self.seed is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file inside a model's output. `name` defaults to `out-<index>.<kind>`."""

    media: MediaSpec = MediaSpec()
    name: str | None = None
    origin: Origin = "delivery"
    content_type: str | None = None


def parse_output_file(description: dict[str, Any]) -> OutputFile:
    """Return the file that `{"$file": kind, …}` describes.

    Raises TypeError or ValueError if a field is unknown or wrong.
    """
    fields = {key: value for key, value in description.items() if key != "$file"}
    file_fields = {key: fields.pop(key) for key in ("name", "origin", "content_type") if key in fields}
    media = MediaSpec(kind=str(description["$file"]), **fields)
    if media.kind not in CONTENT_TYPES:
        raise ValueError(f"$file must be one of {', '.join(sorted(CONTENT_TYPES))}")
    if not (0 < media.width <= _MAX_SIDE_PIXELS and 0 < media.height <= _MAX_SIDE_PIXELS):
        raise ValueError(f"width and height must be between 1 and {_MAX_SIDE_PIXELS}")
    return OutputFile(media=media, **file_fields)
