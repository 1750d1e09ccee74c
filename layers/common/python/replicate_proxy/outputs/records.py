"""Records of an output's files: stored with the job and shown as `proxy.files` by the API. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.json_tree import JsonPath
    from replicate_proxy.outputs.file_types import FileKind


class FileOutcome(StrEnum):
    """What the harvest did with a file. All but NOT_STORED are in the bucket."""

    COMPRESSED = "compressed"
    """An image, stored smaller than its source."""
    UNMODIFIED = "unmodified"
    """An image, stored with its source's pixels; the record's `reason` says why it was not compressed."""
    STORED = "stored"
    """A file of any other kind, stored as it is."""
    UNREADABLE = "unreadable"
    """An image that could not be decoded, stored without its metadata and served as a download."""
    NOT_STORED = "not_stored"
    """A file that could not be fetched, stored or published; its URL is the source URL."""

    @property
    def is_degraded(self) -> bool:
        """Return whether the file is not served in the form that the caller asked for."""
        return self in {FileOutcome.UNREADABLE, FileOutcome.NOT_STORED}


@dataclass(frozen=True)
class FileRecord:
    """One file of an output.

    `url` is where the file is served, for a data URI that is not stored the URI without its content;
    `source_host` is where it came from ("data:" for a data URI). Sizes are in bytes and pixels, hashes in
    hex. `score` is the estimated SSIMULACRA2 of a compressed image; `placeholder` is a BlurHash; `text` is
    the metadata that the model wrote into the image. `retryable`: the file is not stored, and another try
    may still succeed.
    """

    path: JsonPath
    outcome: FileOutcome
    url: str
    reason: str = ""
    kind: FileKind = "unknown"
    source_host: str = ""
    bytes_before: int = 0
    bytes_after: int = 0
    width: int | None = None
    height: int | None = None
    format: str = ""
    content_type: str = ""
    sha256: str = ""
    source_sha256: str = ""
    quality: int | None = None
    score: float | None = None
    placeholder: str = ""
    thumbnail_url: str | None = None
    original_key: str | None = None
    text: Mapping[str, str] = field(default_factory=dict)
    retryable: bool = False

    @property
    def is_stored(self) -> bool:
        return self.outcome is not FileOutcome.NOT_STORED

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values, without empty ones."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values |= {"path": list(self.path), "outcome": self.outcome.value, "text": dict(self.text)}
        required = {"path", "outcome", "url"}
        return {
            name: value
            for name, value in values.items()
            if name in required or value not in (None, "", {}, False)
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FileRecord:
        """Return the record of `to_json`; fields that this version does not know are ignored."""
        names = {item.name for item in fields(cls)}
        known = {name: value for name, value in values.items() if name in names}
        return cls(**{**known, "path": tuple(values["path"]), "outcome": FileOutcome(values["outcome"])})


@dataclass(frozen=True)
class HarvestResult:
    """The state of an output's harvest after one invocation.

    `output` has the shape of the source output, with the URLs of stored files in it; it is final if the
    result is complete. `records` are in document order and include those of earlier invocations. `remaining`
    are the paths of files that a later invocation has to handle: one of them has a record if an earlier
    invocation has tried it.
    """

    output: Any
    records: tuple[FileRecord, ...]
    remaining: tuple[JsonPath, ...] = ()

    @property
    def is_complete(self) -> bool:
        return not self.remaining

    @property
    def has_retryable_files(self) -> bool:
        return any(record.retryable for record in self.records)
