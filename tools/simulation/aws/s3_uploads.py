"""Multipart uploads to S3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.calls import refuse_unknown
from tools.simulation.aws.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class Upload:
    """A multipart upload that is not completed."""

    bucket: str
    key: str
    headers: Mapping[str, Any]
    parts: dict[int, tuple[bytes, str]] = field(default_factory=dict)


def collect_parts(upload: Upload, parts: Any, *, min_bytes: int) -> list[bytes]:
    """Return the bytes of the listed parts. Raises RejectedError if they were not uploaded."""
    if not parts:
        raise RejectedError(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    bodies: list[bytes] = []
    previous = 0
    for part in parts:
        refuse_unknown(part, "ChecksumSHA256", "ETag", "PartNumber", place="MultipartUpload.Parts")
        number = part["PartNumber"]
        if number <= previous:
            raise RejectedError(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            )
        previous = number
        body, etag = upload.parts.get(number, (b"", ""))
        if part["ETag"].strip('"') != etag.strip('"'):
            raise RejectedError(
                "InvalidPart",
                "One or more of the specified parts could not be found.  The part may not have been"
                " uploaded, or"
                " the specified entity tag may not match the part's entity tag.",
            )
        bodies.append(body)
    if any(len(body) < min_bytes for body in bodies[:-1]):
        raise RejectedError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
    return bodies
