"""What is known about each file of a job: kept in its record and told in its reply (`proxy.files`). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.outputs.references import JsonPath


type Outcome = Literal["compressed", "kept", "stored", "unreadable", "left"]


@dataclass(frozen=True)
class FileRecord:
    """One file of an output.

    `compressed`: an image, stored smaller. `kept`: an image, stored as it came (`reason` says why). `stored`:
    any other file. `unreadable`: an image we could not decode, stored as it came and served as a download.
    `left`: not stored, `url` is the address the model gave; `retry` says whether another try may still get
    it. Sizes are in bytes and pixels; `text` is the metadata that the model wrote into the image.
    """

    path: JsonPath
    outcome: Outcome
    url: str
    reason: str = ""
    kind: str = "unknown"
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
    similarity: float | None = None
    placeholder: str = ""
    thumbnail_url: str | None = None
    original_key: str | None = None
    text: Mapping[str, str] = field(default_factory=dict)
    retry: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values; empty ones are left out."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["path"], values["text"] = list(self.path), dict(self.text)
        needed = {"path", "outcome", "url"}
        return {
            name: value
            for name, value in values.items()
            if name in needed or value not in (None, "", {}, False)
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FileRecord:
        known = {item.name for item in fields(cls)}
        return cls(**{**{k: v for k, v in values.items() if k in known}, "path": tuple(values["path"])})


@dataclass(frozen=True)
class HarvestResult:
    """`output` has the shape of the model's with our URLs; it is final only when `complete`.

    `files` are in document order, those of earlier invocations included; `remaining` are the paths still to
    do, to be handed to a further invocation together with `files` as its `already`.
    """

    output: Any
    files: tuple[FileRecord, ...]
    remaining: tuple[JsonPath, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.remaining

    @property
    def retry_worthwhile(self) -> bool:
        """Whether some file was left where it was for a reason that may pass."""
        return any(record.retry for record in self.files)
