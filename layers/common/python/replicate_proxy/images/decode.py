"""Open an image file and decode it, with Pillow's decoders and within limits.

The limits are checked before any pixel is decoded. The measures are those of Pillow's handbook, section
"Security": an allowlist of formats, decompression-bomb warnings as errors, no truncated files. Metadata is
kept from the decoders that would take a broken EXIF block for a broken image (PNG, AVIF).
"""

from __future__ import annotations

import io
import mmap
import warnings
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from PIL import (
    AvifImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from replicate_proxy.images.color import ColorConverter, normalize_pixels
from replicate_proxy.images.color_source import read_color
from replicate_proxy.images.containers import avif, detect_format, gif
from replicate_proxy.images.decoder_errors import translate_decoder_errors
from replicate_proxy.images.png_decoder import compose_frames, decode_frame, read_png
from replicate_proxy.images.stripping.strip import strip_metadata
from replicate_proxy.images.task import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replicate_proxy.images.containers import Source
    from replicate_proxy.images.task import ImageLimits


# Imported by name so that Pillow does not load its forty other decoders.
_PLUGINS: Final = {
    "png": PngImagePlugin.PngImageFile,
    "jpeg": JpegImagePlugin.JpegImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "avif": AvifImagePlugin.AvifImageFile,
    "gif": GifImagePlugin.GifImageFile,
}
ALLOWED_FORMATS: Final = tuple(str(plugin.format) for plugin in _PLUGINS.values())
# Browsers show a frame without a duration for that long.
_DEFAULT_DURATION_MS = 100


@dataclass(frozen=True)
class Frame:
    """A frame as it is shown, normalized. Its pixels may change when the next frame is read."""

    pixels: Image.Image
    duration_ms: int


class ImageSource(Protocol):
    """An image file that is open.

    `plays` is how often an animation is played, 0 for ever. `is_hdr`: the pixels are brighter than sRGB can
    say, and decoding cuts highlights off.
    """

    format_name: str
    size: tuple[int, int]
    plays: int
    is_hdr: bool

    @property
    def frame_count(self) -> int: ...

    def read_still(self) -> Image.Image:
        """Return the normalized pixels of a still image; the source cannot be read again."""
        ...

    def read_frames(self) -> Iterator[Frame]:
        """Decode the frames of an animation, from the first one at each call."""
        ...

    def close(self) -> None: ...


def configure_pillow(limits: ImageLimits) -> None:
    """Set Pillow's process-wide limits."""
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    ImageFile.LOAD_TRUNCATED_IMAGES = False


@contextmanager
def open_image(path: Path, limits: ImageLimits, *, orientation: int = 1) -> Iterator[ImageSource]:
    """Open the image, whose EXIF has that orientation.

    Raises UnreadableImageError, also in place of decoder errors within the `with` block: pixels are decoded
    there.
    """
    size = path.stat().st_size
    if size > limits.max_bytes:
        raise UnreadableImageError("too_many_bytes")
    if not size:
        raise UnreadableImageError("format_not_allowed")
    with (
        translate_decoder_errors(),
        warnings.catch_warnings(),
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        # Others are of metadata that is not used.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        format_name = detect_format(content)
        source: ImageSource
        if format_name == "png":
            source = _PngSource(content, orientation)
        elif format_name in _PLUGINS:
            source = _PillowSource(path, content, format_name, orientation)
        else:
            raise UnreadableImageError("format_not_allowed")
        with closing(source):
            _check_dimensions(source, limits)
            yield source


def _check_dimensions(source: ImageSource, limits: ImageLimits) -> None:
    # First the size of one frame: counting the frames of a GIF reads the whole file.
    pixels = source.size[0] * source.size[1]
    if pixels > limits.max_pixels:
        raise UnreadableImageError("too_many_pixels")
    if source.frame_count > limits.max_frames:
        raise UnreadableImageError("too_many_frames")
    if source.frame_count * pixels > limits.max_pixels:
        raise UnreadableImageError("too_many_pixels")


class _PngSource:
    """A PNG file or an APNG animation."""

    format_name = "png"

    def __init__(self, content: Source, orientation: int) -> None:
        self._content = content
        self._orientation = orientation
        self._file = read_png(content)
        color = read_color(content, "png")
        self._converter = ColorConverter(color.profile)
        self.size, self.plays, self.is_hdr = self._file.size, self._file.plays, color.is_hdr

    @property
    def frame_count(self) -> int:
        return len(self._file.frames)

    def read_still(self) -> Image.Image:
        frame = self._file.frames[0]
        if frame.size != self.size:
            return next(self.read_frames()).pixels
        return self._normalize(decode_frame(self._content, self._file, frame))

    def close(self) -> None:
        """Hold nothing open."""

    def read_frames(self) -> Iterator[Frame]:
        for canvas, duration_ms in compose_frames(self._content, self._file):
            yield Frame(self._normalize(canvas), duration_ms)

    def _normalize(self, image: Image.Image) -> Image.Image:
        return normalize_pixels(image, self._converter, orientation=self._orientation)


class _PillowSource:
    """A file of another format, read by Pillow's plugin."""

    def __init__(self, path: Path, content: Source, format_name: str, orientation: int) -> None:
        self._path = path
        self._content = content
        self.format_name = format_name
        self._image = self._open()
        # AVIF has its orientation in properties of the image, which the plugin shows as EXIF.
        self._orientation = _read_orientation(self._image) if format_name == "avif" else orientation
        color = read_color(content, format_name, self._image.info.get("icc_profile"))
        self._converter = ColorConverter(color.profile)
        self.is_hdr = color.is_hdr
        self.size = self._read_screen_size() if format_name == "gif" else self._image.size
        self.plays = self._read_plays()

    @property
    def frame_count(self) -> int:
        """The further pictures of an MPO file (a JPEG variant) are not frames."""
        return 1 if self.format_name == "jpeg" else int(getattr(self._image, "n_frames", 1))

    def close(self) -> None:
        self._image.close()

    def read_still(self) -> Image.Image:
        pixels = self._normalize(self._image)
        if pixels is not self._image:
            # The decoded pixels are not needed any more, and encoding a large image needs their memory.
            self._image.close()
        return pixels

    def read_frames(self) -> Iterator[Frame]:
        # Opened again: seeking back loses state in some plugins.
        with self._open() as image:
            for index in range(self.frame_count):
                image.seek(index)
                image.load()
                duration_ms = int(image.info.get("duration") or _DEFAULT_DURATION_MS)
                yield Frame(self._normalize(image.copy()), duration_ms)

    def _open(self) -> Image.Image:
        file: Path | io.BytesIO = self._path
        if self.format_name == "avif" and (stripped := strip_metadata(self._content, "avif")) is not None:
            file = io.BytesIO(stripped.to_bytes(self._content))
        return Image.open(file, formats=(str(_PLUGINS[self.format_name].format),))

    def _normalize(self, image: Image.Image) -> Image.Image:
        image.load()
        if image.size != self.size:
            # A frame of a GIF that reaches beyond the screen, to which browsers cut it.
            image = image.crop((0, 0, *self.size))
        return normalize_pixels(image, self._converter, orientation=self._orientation)

    def _read_screen_size(self) -> tuple[int, int]:
        return gif.read_screen_size(self._content) or self._image.size

    def _read_plays(self) -> int:
        match self.format_name:
            case "gif":
                return gif.read_plays(self._content)
            case "avif":
                return avif.read_plays(self._content)
        return int(self._image.info.get("loop", 0))


def _read_orientation(image: Image.Image) -> int:
    exif = Image.Exif()
    exif.load(image.info.get("exif", b""))
    return int(exif.get(ExifTags.Base.Orientation, 1))
