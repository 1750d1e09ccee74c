"""The input files of large batches, which the route of files would write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import NotFoundError
from replicate_proxy.files.model import FILE_LIFETIME, StoredFile
from replicate_proxy.ids import generate_id
from tools.simulation.resources import BUCKET

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.ports import Clock
    from tools.simulation.aws import InMemoryAws


def build_input_file(tenant: str, content: bytes, now: datetime) -> StoredFile:
    """Return the record of a file of lines that was uploaded just now."""
    return StoredFile(
        id=generate_id(now),
        tenant=tenant,
        name="lines.jsonl",
        content_type="application/jsonl",
        created_at=now,
        expires_at=now + FILE_LIFETIME,
        size_bytes=len(content),
    )


class InputFiles:
    """The input files that callers have uploaded. Nothing of it passes the gate."""

    def __init__(self, aws: InMemoryAws, clock: Clock) -> None:
        self._s3 = aws.s3
        self._clock = clock
        self._files: dict[str, StoredFile] = {}

    def add(self, tenant: str, content: bytes) -> StoredFile:
        file = build_input_file(tenant, content, self._clock.now())
        self._files[file.id] = file
        self._s3.put_object({"Bucket": BUCKET, "Key": file.object_key, "Body": content})
        return file

    def find(self, tenant: str, file_id: str) -> StoredFile:
        """Return the file. Raises NotFoundError."""
        file = self._files.get(file_id)
        if file is None or file.tenant != tenant:
            raise NotFoundError("no such file")
        return file

    def delete(self, file_id: str) -> None:
        file = self._files.pop(file_id)
        self._s3.delete_object({"Bucket": BUCKET, "Key": file.object_key})
