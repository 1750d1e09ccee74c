"""Fixtures: the file service on fakes, and the access table in moto."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from moto import mock_aws

from replicate_proxy.errors import ConflictError, NotFoundError
from replicate_proxy.files.multipart import UploadedPart
from replicate_proxy.files.ports import FilePage, ObjectMetadata, PartUpload, UploadForm
from replicate_proxy.files.service import FileService, FileSettings
from tests.support.aws import create_access_table
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.files.multipart import MultipartUpload

SIGNING_KEY = b"s" * 32
MEBIBYTE = 1024 * 1024


@dataclass
class FakeFileStore:
    """A FileStore in memory."""

    files: dict[tuple[str, str], StoredFile] = field(default_factory=dict)

    def save(self, file: StoredFile, *, was_pending: bool = False) -> None:
        stored = self.files.get((file.tenant, file.id))
        if was_pending and (stored is None or stored.is_uploaded):
            raise ConflictError("move file record")
        self.files[file.tenant, file.id] = file

    def get(self, tenant: str, file_id: str) -> StoredFile | None:
        return self.files.get((tenant, file_id))

    def list_files(self, tenant: str, *, before_id: str | None, limit: int) -> FilePage:
        files = [
            file
            for file in self._list_newest_first(tenant)
            if file.is_uploaded and (before_id is None or file.id < before_id)
        ]
        return FilePage(tuple(files[:limit]), files[limit - 1].id if len(files) > limit else None)

    def list_pending(self, tenant: str, *, limit: int) -> tuple[StoredFile, ...]:
        return tuple([file for file in self._list_newest_first(tenant) if not file.is_uploaded][:limit])

    def delete(self, file: StoredFile) -> None:
        self.files.pop((file.tenant, file.id), None)

    def _list_newest_first(self, tenant: str) -> list[StoredFile]:
        return [self.files[key] for key in sorted(self.files, reverse=True) if key[0] == tenant]


@dataclass
class FakeObjects:
    """A FileObjects in memory; its forms and URLs contain the limits that they were created with."""

    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """The parts of each upload that is neither completed nor aborted."""

    def put(self, file: StoredFile, content: bytes) -> None:
        self.objects[file.object_key] = content

    def get_metadata(self, key: str) -> ObjectMetadata | None:
        content = self.objects.get(key)
        return None if content is None else ObjectMetadata(len(content), "0" * 32)

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def create_download_url(self, file: StoredFile, *, lifetime: timedelta, method: str = "GET") -> str:
        seconds = f"{lifetime.total_seconds():.0f}"
        return f"https://objects.example/{file.object_key}?seconds={seconds}" + (
            "" if method == "GET" else f"&method={method}"
        )

    def create_upload_form(
        self, file: StoredFile, *, allowed_sizes: range, lifetime: timedelta
    ) -> UploadForm:
        return UploadForm(
            "https://objects.example/",
            {
                "key": file.object_key,
                "sizes": f"{allowed_sizes.start}-{allowed_sizes.stop - 1}",
                "seconds": f"{lifetime.total_seconds():.0f}",
            },
        )

    def start_multipart_upload(self, file: StoredFile) -> str:
        upload_id = f"upload-of-{file.id}"
        self.parts[upload_id] = {}
        return upload_id

    def create_part_upload(
        self, key: str, upload: MultipartUpload, number: int, *, lifetime: timedelta
    ) -> PartUpload:
        url = f"https://objects.example/{key}?part={number}&seconds={lifetime.total_seconds():.0f}"
        return PartUpload(number, upload.part_sizes[number], url)

    def list_parts(self, key: str, upload: MultipartUpload) -> dict[int, UploadedPart]:
        if upload.id not in self.parts:
            raise NotFoundError("no such upload")
        return {number: UploadedPart(len(part), "etag") for number, part in self.parts[upload.id].items()}

    def complete_multipart_upload(
        self, key: str, upload: MultipartUpload, parts: Mapping[int, UploadedPart]
    ) -> None:
        uploaded = self.parts.pop(upload.id)
        self.objects[key] = b"".join(uploaded[number] for number in parts)

    def abort_multipart_upload(self, key: str, upload: MultipartUpload) -> None:
        self.parts.pop(upload.id, None)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> FakeFileStore:
    return FakeFileStore()


@pytest.fixture
def objects() -> FakeObjects:
    return FakeObjects()


@pytest.fixture
def files(store: FakeFileStore, objects: FakeObjects, clock: FakeClock) -> FileService:
    return FileService(
        store=store,
        objects=objects,
        load_signing_key=lambda: SIGNING_KEY,
        clock=clock,
        settings=FileSettings(max_upload_bytes=50 * MEBIBYTE, max_form_bytes=1000),
    )


@pytest.fixture
def dynamodb() -> Iterator[DynamoDBClient]:
    """A DynamoDB client of an account that contains only the access table."""
    with mock_aws():
        yield create_access_table()
