"""How a file is divided into parts, within the limits of S3."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.files.multipart import MultipartUpload, UploadedPart

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE


@given(st.integers(1, 5 * GIBIBYTE))
def test_parts_are_within_the_limits_of_s3_and_add_up(size_bytes: int) -> None:
    upload = MultipartUpload.plan("u", size_bytes)
    sizes = list(upload.part_sizes.values())
    assert sum(sizes) == size_bytes
    assert len(sizes) <= 100
    assert all(size >= 5 * MEBIBYTE for size in sizes[:-1])
    assert 0 < sizes[-1] <= upload.part_bytes <= 5 * GIBIBYTE
    assert list(upload.part_sizes) == list(range(1, len(sizes) + 1))


def test_part_is_missing_if_absent_or_of_another_size() -> None:
    upload = MultipartUpload("u", 25, 10)
    uploaded = {1: UploadedPart(10, "a"), 2: UploadedPart(9, "b"), 4: UploadedPart(10, "x")}
    assert upload.find_missing_parts(uploaded) == {2: 10, 3: 5}
    uploaded |= {2: UploadedPart(10, "b"), 3: UploadedPart(5, "c")}
    assert upload.find_missing_parts(uploaded) == {}
