"""Records of files: one contract, kept by DynamoDB and by the fake that other tests use."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.aws.file_store import DynamoFileStore
from replicate_proxy.files.model import StoredFile
from replicate_proxy.ids import generate_id
from tests.support.access import TABLE
from tests.support.clock import NOW
from tests.unit.replicate_proxy.files.conftest import FakeFileStore

if TYPE_CHECKING:
    from typing import Any

    from replicate_proxy.files.model import FileStore


@pytest.fixture(name="records", params=["dynamodb", "fake"])
def records_of(request: pytest.FixtureRequest) -> FileStore:
    if request.param == "fake":
        return FakeFileStore()
    return DynamoFileStore(request.getfixturevalue("dynamodb"), TABLE)


def make(seconds: int = 0, **changes: Any) -> StoredFile:
    at = NOW + timedelta(seconds=seconds)
    file = StoredFile(
        id=generate_id(at),
        tenant="acme",
        name="Kätzchen.png",
        content_type="image/png",
        created_at=at,
        expires_at=at + timedelta(hours=24),
        size_bytes=3,
        checksums={"md5": "0" * 32},
        metadata={"a": [1.5, None]},
    )
    return replace(file, **changes)


def test_a_record_comes_back_whole(records: FileStore) -> None:
    for file in (make(), make(size_bytes=None, checksums={}, metadata={})):
        records.save(file)
        assert records.get("acme", file.id) == file


def test_a_record_is_found_under_its_tenant_only(records: FileStore) -> None:
    file = make()
    records.save(file)
    assert records.get("globex", file.id) is None
    assert records.list_files("globex", before_id=None, limit=10).files == ()


def test_pages_follow_on_without_gap_or_repetition(records: FileStore) -> None:
    made = [make(seconds) for seconds in range(5)]
    for file in made:
        records.save(file)
    first = records.list_files("acme", before_id=None, limit=2)
    second = records.list_files("acme", before_id=first.next_before_id, limit=2)
    third = records.list_files("acme", before_id=second.next_before_id, limit=2)
    assert [*first.files, *second.files, *third.files] == made[::-1]
    assert third.next_before_id is None


def test_a_full_last_page_has_nothing_after_it(records: FileStore) -> None:
    for seconds in range(2):
        records.save(make(seconds))
    assert records.list_files("acme", before_id=None, limit=2).next_before_id is None


def test_an_awaited_file_is_not_on_a_page_until_it_is_uploaded(records: FileStore) -> None:
    file = make(size_bytes=None)
    records.save(file)
    assert records.list_pending("acme", limit=5) == (file,)
    assert records.list_files("acme", before_id=None, limit=5).files == ()
    records.save(replace(file, size_bytes=9))
    assert records.list_pending("acme", limit=5) == ()
    assert records.list_files("acme", before_id=None, limit=5).files == (replace(file, size_bytes=9),)


def test_a_deleted_record_is_gone_in_either_state(records: FileStore) -> None:
    for file in (make(), make(size_bytes=None)):
        records.save(file)
        records.delete(file)
        assert records.get("acme", file.id) is None
