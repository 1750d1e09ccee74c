"""Choose the quality at which an encoded image has the target score."""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image

from replicate_proxy.images.color_check import is_color_right
from replicate_proxy.images.decode import ALLOWED_FORMATS
from replicate_proxy.images.decoder_errors import translate_decoder_errors
from replicate_proxy.images.encode import ENCODERS, allows_full_color, encode_still
from replicate_proxy.images.score import ScoreReference
from replicate_proxy.images.task import EncodingFailedError, UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replicate_proxy.images.encode import TargetFormat
    from replicate_proxy.images.options import ImageOptions


# The processor budget: so many encodings of a sample, whose pixels are bounded, beside the one of the image.
_MAX_TRIES = 3
# Up to this size an image is its own sample, so that the encoded sample is the encoded image.
_MAX_WHOLE_SAMPLE_PIXELS = 200_000
_TILE_PIXELS, _LARGE_TILE_PIXELS = 128, 256
_MIN_TILES, _MAX_TILES = 9, 25
# Up to this size the colors of the whole image are checked once it is encoded. At the edges of a mosaic's
# tiles colors run into each other, which counts less for large tiles.
MAX_CHECKED_PIXELS = 4_000_000
# Of the pixels of the image.
_SAMPLED_SHARE = 1 / 8

# What a score may differ from the target without another try.
_MAX_SCORE_BELOW, _MAX_SCORE_ABOVE = 1.5, 2.5
# How far a score may be from the nearest one that was measured.
_MAX_PREDICTED_DIFFERENCE = 4.0
# Scores do not grow evenly with the quality. The larger step is for scores that are that far off.
_QUALITY_STEP, _LARGE_QUALITY_STEP, _LARGE_SCORE_DIFFERENCE = 12, 24, 15
# Aimed at where no quality reaches the target, so that the estimate's error does not lead below the minimum.
_MIN_SCORE_MARGIN = 3.0


@dataclass(frozen=True)
class QualityChoice:
    """`encoded` is the sample at about that quality, and at that quality if the sample is the image.

    `full_color`: with the full resolution of color. `is_good_enough` is False if no quality gives the minimum
    score and the right colors.
    """

    quality: int
    full_color: bool
    score: float
    encoded: bytes
    is_color_right: bool
    is_good_enough: bool


def choose_quality(
    sample: Image.Image,
    format_name: TargetFormat,
    options: ImageOptions,
    *,
    size: tuple[int, int],
    checks_color: bool = True,
    exif: bytes = b"",
) -> QualityChoice:
    """Encode the sample at a few qualities, and return the lowest one whose score is about the target.

    `size` is that of the image, `checks_color` whether the colors of the sample are checked. Where no quality
    reaches the target, the minimum score is enough. Where half the resolution of color is not enough, the
    full resolution is encoded, unless the format or the size rule that out. A quality in the options is the
    only one tried, and always good enough. Raises EncodingFailedError.
    """
    search = _QualitySearch(sample, format_name, options, size=size, checks_color=checks_color, exif=exif)
    return search.run()


class _QualitySearch:
    def __init__(
        self,
        sample: Image.Image,
        format_name: TargetFormat,
        options: ImageOptions,
        *,
        size: tuple[int, int],
        checks_color: bool,
        exif: bytes,
    ) -> None:
        self._sample, self._format, self._options, self._exif = sample, format_name, options, exif
        self._reference = ScoreReference(sample)
        self._settings = ENCODERS[format_name]
        self._allows_full_color = allows_full_color(format_name, size)
        self._full_color = self._allows_full_color and self._settings.prefers_full_color
        self._checks_color = checks_color
        self._is_whole = sample.size == size
        self._tried: dict[int, QualityChoice] = {}

    def run(self) -> QualityChoice:
        if self._options.quality is not None:
            return self._try_in_right_color(self._options.quality)
        choice = self._search()
        if not choice.is_good_enough and self._allows_full_color and not self._full_color:
            self._full_color = True
            self._tried.clear()
            choice = self._search()
        return choice

    def _search(self) -> QualityChoice:
        quality = self._settings.default_quality
        for _ in range(_MAX_TRIES):
            choice = self._try_in_right_color(quality)
            if not choice.is_color_right:
                # A higher quality does not help without the full resolution of color.
                return choice
            self._tried[quality] = choice
            quality = self._choose_next()
            if quality in self._tried:
                break
            if predicted := self._predict(quality):
                return predicted
        return self._choose_best()

    def _predict(self, quality: int) -> QualityChoice | None:
        """Return the choice of a quality that need not be tried, since its score is known well enough.

        That is if the score lies between those of two tries, or near the one of the nearest. None if the
        encoded sample is needed, because it is the image.
        """
        if self._is_whole:
            return None
        tries = [self._tried[tried] for tried in sorted(self._tried)]
        nearest = min(tries, key=lambda choice: abs(choice.quality - quality))
        slope = _estimate_slope(tries, self._settings.score_per_quality)
        score = nearest.score + slope * (quality - nearest.quality)
        is_between = tries[0].quality < quality < tries[-1].quality
        if not is_between and abs(score - nearest.score) > _MAX_PREDICTED_DIFFERENCE:
            return None
        is_good_enough = score >= self._options.min_score
        return replace(nearest, quality=quality, score=round(score, 1), is_good_enough=is_good_enough)

    def _try_in_right_color(self, quality: int) -> QualityChoice:
        choice = self._try(quality)
        if choice.is_color_right or self._full_color or not self._allows_full_color:
            return choice
        self._full_color = True
        self._tried.clear()
        return self._try(quality)

    def _try(self, quality: int) -> QualityChoice:
        encoded = encode_still(
            self._sample, self._format, quality, full_color=self._full_color, exif=self._exif
        )
        with open_encoded(encoded) as decoded:
            score = self._reference.estimate_score(decoded)
            has_right_color = (
                self._full_color or not self._checks_color or is_color_right(self._sample, decoded)
            )
        is_good = has_right_color and score >= self._options.min_score
        return QualityChoice(
            quality=quality,
            full_color=self._full_color,
            score=round(score, 1),
            encoded=encoded,
            is_color_right=has_right_color,
            is_good_enough=self._options.quality is not None or is_good,
        )

    def _choose_next(self) -> int:
        """Return the quality that probably has the target score, or one that was tried to end the search."""
        tries = [self._tried[quality] for quality in sorted(self._tried)]
        highest, target = self._settings.max_quality, self._options.target_score
        nearest = min(tries, key=lambda choice: abs(choice.score - target))
        if -_MAX_SCORE_BELOW <= nearest.score - target <= _MAX_SCORE_ABOVE:
            return nearest.quality
        if highest in self._tried and self._tried[highest].score < target:
            target = min(target, self._options.min_score + _MIN_SCORE_MARGIN)
        step = round((target - nearest.score) / _estimate_slope(tries, self._settings.score_per_quality))
        is_far_off = abs(target - nearest.score) > _LARGE_SCORE_DIFFERENCE
        max_step = _LARGE_QUALITY_STEP if is_far_off else _QUALITY_STEP
        step = max(-max_step, min(max_step, step))
        return max(self._settings.min_quality, min(highest, nearest.quality + step))

    def _choose_best(self) -> QualityChoice:
        tries = [self._tried[quality] for quality in sorted(self._tried)]
        for lowest_score in (self._options.target_score - _MAX_SCORE_BELOW, self._options.min_score):
            for choice in tries:
                if choice.score >= lowest_score:
                    return choice
        return max(tries, key=lambda choice: choice.score)


def _estimate_slope(tries: Sequence[QualityChoice], default: float) -> float:
    """Return how much the score grows with the quality, between the tries or by default."""
    if len(tries) == 1:
        return default
    lower, upper = tries[-2:]
    return max(default / 4, (upper.score - lower.score) / (upper.quality - lower.quality))


def build_sample(image: Image.Image) -> Image.Image:
    """Return the image itself, or a mosaic of tiles spread over a large one.

    The mosaic bounds time and memory; its score is close to that of the whole image.
    """
    pixels = image.width * image.height
    tile_pixels = _TILE_PIXELS if pixels <= MAX_CHECKED_PIXELS else _LARGE_TILE_PIXELS
    if pixels <= _MAX_WHOLE_SAMPLE_PIXELS or min(image.size) < tile_pixels:
        return image
    count = max(_MIN_TILES, min(_MAX_TILES, round(pixels * _SAMPLED_SHARE / tile_pixels**2)))
    side = round(count**0.5)
    mosaic = Image.new(image.mode, (side * tile_pixels, side * tile_pixels))
    for row in range(side):
        for column in range(side):
            left = (image.width - tile_pixels) * column // (side - 1)
            top = (image.height - tile_pixels) * row // (side - 1)
            tile = image.crop((left, top, left + tile_pixels, top + tile_pixels))
            mosaic.paste(tile, (column * tile_pixels, row * tile_pixels))
    return mosaic


@contextmanager
def open_encoded(encoded: bytes) -> Iterator[Image.Image]:
    """Open an image that was just encoded.

    Raises EncodingFailedError in place of decoder errors: what we cannot decode, others cannot either.
    """
    try:
        with (
            translate_decoder_errors(),
            Image.open(io.BytesIO(encoded), formats=ALLOWED_FORMATS) as decoded,
        ):
            yield decoded
    except UnreadableImageError as error:
        is_out_of_memory = error.reason == "memory_limit"
        raise EncodingFailedError("memory_limit" if is_out_of_memory else "encoding_failed") from error
