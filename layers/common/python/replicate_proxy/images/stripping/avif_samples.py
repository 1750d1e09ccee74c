"""Where in the file the frames of an image sequence are: ISO/IEC 14496-12, section 8.7 (stsz, stsc, stco)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from replicate_proxy.images.stripping.boxes import Box, Range, boxes
from replicate_proxy.images.stripping.errors import UnknownStructureError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["chunks"]

# Far more frames than are ever decoded; a table that names more is there to cost time.
_MOST_SAMPLES = 100_000


def chunks(data: bytes, stbl: Box) -> Iterator[Range]:
    """Each chunk of samples of a sample table. Raises UnknownStructureError."""
    tables = {box.kind: box for box in boxes(data, stbl.body, stbl.end)}
    if not tables.keys() & {b"stco", b"co64"} or not tables.keys() >= {b"stsz", b"stsc"}:
        raise UnknownStructureError
    sizes = iter(_sizes(data, tables[b"stsz"]))
    runs = _runs(data, tables[b"stsc"])
    samples = 0
    for number, start in enumerate(_offsets(data, tables), 1):
        samples = runs.get(number, samples)
        yield start, start + sum(islice(sizes, samples))


def _sizes(data: bytes, stsz: Box) -> tuple[int, ...]:
    cursor = stsz.cursor(data)
    cursor.take(4)
    same, count = cursor.number(4), cursor.number(4)
    if count > _MOST_SAMPLES:
        raise UnknownStructureError
    return (same,) * count if same else cursor.numbers(count)


def _runs(data: bytes, stsc: Box) -> dict[int, int]:
    """Samples in each chunk, by the first chunk that has as many."""
    cursor = stsc.cursor(data)
    cursor.take(4)
    table = cursor.numbers(3 * cursor.number(4))
    return dict(zip(table[::3], table[1::3], strict=True))


def _offsets(data: bytes, tables: dict[bytes, Box]) -> Iterator[int]:
    wide = b"co64" in tables
    cursor = tables[b"co64" if wide else b"stco"].cursor(data)
    cursor.take(4)
    for _ in range(cursor.number(4)):
        yield cursor.number(8 if wide else 4)
