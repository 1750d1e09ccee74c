"""The FileStore contract, for DynamoDB and for the fake that other tests use."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.aws.file_store import DynamoFileStore
from replicate_proxy.errors import ConflictError
from replicate_proxy.files.model import StoredFile
from replicate_proxy.files.multipart import MultipartUpload
from replicate_proxy.ids import generate_id
from tests.support.aws import ACCESS_TABLE
from tests.support.clock import NOW
from tests.unit.replicate_proxy.files.conftest import FakeFileStore

if TYPE_CHECKING:
    from typing import Any

    from replicate_proxy.files.ports import FileStore


@pytest.fixture(params=["dynamodb", "fake"])
def store(request: pytest.FixtureRequest) -> FileStore:
    if request.param == "fake":
        return FakeFileStore()
    return DynamoFileStore(request.getfixturevalue("dynamodb"), ACCESS_TABLE)


def make_file(seconds: int = 0, **changes: Any) -> StoredFile:
    created_at = NOW + timedelta(seconds=seconds)
    file = StoredFile(
        id=generate_id(created_at),
        tenant="acme",
        name="Kätzchen.png",
        content_type="image/png",
        created_at=created_at,
        expires_at=created_at + timedelta(hours=24),
        size_bytes=3,
        checksums={"md5": "0" * 32},
        metadata={"a": [1.5, None]},
    )
    return replace(file, **changes)


def test_saved_file_round_trips(store: FileStore) -> None:
    for file in (make_file(), make_file(size_bytes=None, checksums={}, metadata={})):
        store.save(file)
        assert store.get("acme", file.id) == file


def test_file_belongs_to_its_tenant(store: FileStore) -> None:
    file = make_file()
    store.save(file)
    assert store.get("globex", file.id) is None
    assert store.list_files("globex", before_id=None, limit=10).files == ()


def test_pages_contain_every_file_once(store: FileStore) -> None:
    files = [make_file(seconds) for seconds in range(5)]
    for file in files:
        store.save(file)
    first = store.list_files("acme", before_id=None, limit=2)
    second = store.list_files("acme", before_id=first.next_before_id, limit=2)
    third = store.list_files("acme", before_id=second.next_before_id, limit=2)
    assert [*first.files, *second.files, *third.files] == files[::-1]
    assert third.next_before_id is None


def test_full_last_page_has_no_next_page(store: FileStore) -> None:
    for seconds in range(2):
        store.save(make_file(seconds))
    assert store.list_files("acme", before_id=None, limit=2).next_before_id is None


def test_page_of_files_with_much_metadata_is_full(store: FileStore) -> None:
    # DynamoDB returns at most 1 MB at once.
    files = [make_file(seconds, metadata={"a": "x" * 16_000}) for seconds in range(80)]
    for file in files:
        store.save(file)
    page = store.list_files("acme", before_id=None, limit=75)
    assert [file.id for file in page.files] == [file.id for file in files[:4:-1]]
    rest = store.list_files("acme", before_id=page.next_before_id, limit=75)
    assert [file.id for file in rest.files] == [file.id for file in files[4::-1]]
    assert rest.next_before_id is None


def test_pending_file_is_listed_once_it_is_uploaded(store: FileStore) -> None:
    file = make_file(size_bytes=None)
    store.save(file)
    assert store.list_pending("acme", limit=5) == (file,)
    assert store.list_files("acme", before_id=None, limit=5).files == ()
    store.save(replace(file, size_bytes=9), was_pending=True)
    assert store.list_pending("acme", limit=5) == ()
    assert store.list_files("acme", before_id=None, limit=5).files == (replace(file, size_bytes=9),)


def test_pending_file_that_is_gone_is_not_saved_as_uploaded(store: FileStore) -> None:
    file = make_file(size_bytes=None)
    store.save(file)
    store.delete(file)
    with pytest.raises(ConflictError):
        store.save(replace(file, size_bytes=9), was_pending=True)
    assert store.get("acme", file.id) is None


def test_upload_that_is_recorded_already_is_a_conflict(store: FileStore) -> None:
    file = make_file(size_bytes=None)
    store.save(file)
    store.save(replace(file, size_bytes=9), was_pending=True)
    with pytest.raises(ConflictError):
        store.save(replace(file, size_bytes=9), was_pending=True)
    assert store.get("acme", file.id) == replace(file, size_bytes=9)


def test_upload_in_parts_is_saved_and_forgotten_once_it_is_uploaded(store: FileStore) -> None:
    file = make_file(size_bytes=None, multipart=MultipartUpload("u", 2**32, 2**26))
    store.save(file)
    assert store.get("acme", file.id) == file
    store.save(replace(file, size_bytes=2**32, multipart=None), was_pending=True)
    assert store.get("acme", file.id) == replace(file, size_bytes=2**32, multipart=None)


def test_delete_removes_uploaded_and_pending_file(store: FileStore) -> None:
    for file in (make_file(), make_file(size_bytes=None)):
        store.save(file)
        store.delete(file)
        assert store.get("acme", file.id) is None
