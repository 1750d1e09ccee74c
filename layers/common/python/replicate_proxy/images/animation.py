"""Compress animations: GIF, APNG, animated WebP and AVIF sequences become animated WebP or AVIF."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import Image

from replicate_proxy.images.encode import ENCODERS, allows_lossless, choose_format, encode_frames
from replicate_proxy.images.quality import build_sample, choose_quality, open_encoded
from replicate_proxy.images.score import MAX_SCORE, ScoreReference
from replicate_proxy.images.task import write_result

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicate_proxy.images.decode import Frame, ImageSource
    from replicate_proxy.images.encode import TargetFormat
    from replicate_proxy.images.task import ImageResult, ImageTask


_SCORE_OF_MISSING_FRAME = -100.0


class Animation:
    """An animation whose frames have all been decoded once, so that a broken one is found before encoding.

    Each sample is the time at which its frame appears (milliseconds) and the frame, or a mosaic of it: the
    first, middle and last frame are sampled.
    """

    def __init__(self, source: ImageSource, frames: Iterable[Frame]) -> None:
        self._source = source
        self._durations_ms: list[int] = []
        self._samples: list[tuple[int, Image.Image]] = []
        self._is_transparent = False
        for frame in frames:
            self._add(frame)

    def compress(self, task: ImageTask, result: ImageResult, *, exif: bytes) -> ImageResult:
        """Write all frames at one quality, at which all samples have the target score.

        If a frame gets less than the minimum as it is encoded, the quality rises. Without loss, if WebP would
        blur the colors. Raises EncodingFailedError.
        """
        # The frames count together toward the formats' size limits.
        size = (self._size[0], self._size[1] * self._source.frame_count)
        format_name = choose_format(task.options, size, is_animated=True)
        choices = [
            choose_quality(
                sample, format_name, task.options, size=size, checks_color=sample.size == self._size
            )
            for _, sample in self._samples
        ]
        quality = max(choice.quality for choice in choices)
        full_color = any(choice.full_color for choice in choices)
        if not all(choice.is_good_enough for choice in choices):
            if format_name == "webp" and allows_lossless(size):
                lossless = self._encode(format_name, None, exif=exif)
                return write_result(lossless, format_name, task, replace(result, score=MAX_SCORE))
            score = min(choice.score for choice in choices)
            return replace(result, quality=quality, score=score, reason="below_min_score")
        highest = max(quality, ENCODERS[format_name].max_quality)
        for tried in dict.fromkeys((quality, (quality + highest) // 2, highest)):
            encoded = self._encode(format_name, tried, full_color=full_color, exif=exif)
            score = self._estimate_score(encoded)
            result = replace(result, quality=tried, score=round(score, 1))
            if task.options.quality or score >= task.options.min_score:
                return write_result(encoded, format_name, task, result)
        return replace(result, reason="below_min_score")

    def encode_unmodified(self, *, exif: bytes) -> tuple[bytes, str]:
        """Return all frames encoded without loss, and the format. Raises EncodingFailedError."""
        return self._encode("webp", None, exif=exif), "webp"

    def _add(self, frame: Frame) -> None:
        index, frame_count = len(self._durations_ms), self._source.frame_count
        self._size = frame.pixels.size
        if index in {0, frame_count // 2, frame_count - 1}:
            sample = build_sample(frame.pixels)
            sample = sample.copy() if sample is frame.pixels else sample
            self._samples.append((sum(self._durations_ms), sample))
        self._is_transparent |= frame.pixels.mode == "RGBA"
        self._durations_ms.append(frame.duration_ms)

    def _encode(
        self, format_name: TargetFormat, quality: int | None, *, full_color: bool = False, exif: bytes
    ) -> bytes:
        frames = _FrameSequence(self._source, self._size, is_transparent=self._is_transparent)
        return encode_frames(
            frames,
            format_name,
            quality,
            durations_ms=self._durations_ms,
            plays=self._source.plays,
            full_color=full_color,
            exif=exif,
        )

    def _estimate_score(self, encoded: bytes) -> float:
        """Return the lowest score of any sample, compared with what the encoded animation shows at its time.

        Frames are found by time, since encoders join equal ones. Raises EncodingFailedError.
        """
        scores: list[float] = []
        samples = iter(self._samples)
        start, sample = next(samples)
        end = 0
        with open_encoded(encoded) as decoded:
            for index in range(getattr(decoded, "n_frames", 1)):
                decoded.seek(index)
                decoded.load()
                end += int(decoded.info.get("duration") or 0)
                while start < end and len(scores) < len(self._samples):
                    scores.append(ScoreReference(sample).estimate_score(build_sample(decoded)))
                    start, sample = next(samples, (start, sample))
        return min(scores) if len(scores) == len(self._samples) else _SCORE_OF_MISSING_FRAME


class _FrameSequence(Image.Image):
    """Shows the frames of a source to Pillow's encoders as an image that can seek.

    No more than one frame is in memory. All have the same mode.
    """

    is_animated = True

    def __init__(self, source: ImageSource, size: tuple[int, int], *, is_transparent: bool) -> None:
        super().__init__()
        self._source = source
        self._size = size
        self._mode = "RGBA" if is_transparent else "RGB"
        self.n_frames = source.frame_count
        self._position = self.n_frames
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Show that frame: the current, the next or the first one. Raises EOFError after the last."""
        if frame == self._position:
            return
        if frame >= self.n_frames:
            raise EOFError
        if frame == 0:
            self._frames = self._source.read_frames()
        elif frame != self._position + 1:
            raise ValueError("frames are read one after another")
        self.im = next(self._frames).pixels.convert(self._mode).im
        self._position = frame

    def tell(self) -> int:
        return self._position
