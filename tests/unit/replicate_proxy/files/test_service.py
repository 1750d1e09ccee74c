"""A tenant's files, from upload to expiry."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.api.files import CreateUploadBody
from replicate_proxy.api.multipart_form import FileForm
from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.files.signed_downloads import build_download_url, parse_download_url
from tests.unit.replicate_proxy.files.conftest import KEY, FakeFileStore, FakeObjects

if TYPE_CHECKING:
    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.files.service import FileService
    from replicate_proxy.files.signed_downloads import SignedDownload
    from tests.support.clock import FakeClock

FORM = FileForm(content=b"cat", name="cat.png", content_type="image/png", metadata={"a": 1})
UPLOAD = CreateUploadBody(filename="big.zip", content_type="application/zip")


def ticket_of(file: StoredFile) -> SignedDownload:
    found = parse_download_url(build_download_url("https://api.example", file, KEY))
    assert found is not None
    return found


def test_an_uploaded_file_has_its_bytes_and_checksums(files: FileService, objects: FakeObjects) -> None:
    file = files.create("acme", FORM)
    assert objects.objects == {f"files/acme/{file.id}": b"cat"}
    assert (file.size_bytes, file.checksums) == (
        3,
        {"sha256": hashlib.sha256(b"cat").hexdigest(), "md5": hashlib.md5(b"cat").hexdigest()},  # noqa: S324 - S3's own
    )
    assert files.get("acme", file.id) == file


def test_another_tenant_sees_nothing_of_it(files: FileService, objects: FakeObjects) -> None:
    file = files.create("acme", FORM)
    with pytest.raises(NotFoundError):
        files.get("globex", file.id)
    with pytest.raises(NotFoundError):
        files.delete("globex", file.id)
    assert files.list_files("globex").files == ()
    assert objects.objects


@pytest.mark.parametrize("file_id", ["", "x", "../acme", "01J", "a" * 27])
def test_an_id_of_another_shape_is_unknown(files: FileService, file_id: str) -> None:
    with pytest.raises(NotFoundError):
        files.get("acme", file_id)


def test_a_deleted_file_is_gone_with_its_bytes(files: FileService, objects: FakeObjects) -> None:
    file = files.create("acme", FORM)
    files.delete("acme", file.id)
    assert objects.objects == {}
    for _ in range(2):
        with pytest.raises(NotFoundError):
            files.delete("acme", file.id)


def test_after_a_day_a_file_is_gone_whether_or_not_the_table_has_noticed(
    files: FileService, clock: FakeClock
) -> None:
    file = files.create("acme", FORM)
    clock.advance(hours=24)
    with pytest.raises(NotFoundError):
        files.get("acme", file.id)
    with pytest.raises(NotFoundError):
        files.create_download_url(ticket_of(file))
    assert files.list_files("acme").files == ()


def test_files_come_newest_first_in_pages(files: FileService, clock: FakeClock) -> None:
    made = []
    for _ in range(250):
        made.append(files.create("acme", FORM).id)
        clock.advance(seconds=1)
    seen: list[str] = []
    below, pages = None, 0
    while pages == 0 or below:
        page = files.list_files("acme", before_id=below)
        seen += [file.id for file in page.files]
        below, pages = page.next_before_id, pages + 1
    assert seen == made[::-1]
    assert pages == 3


def test_an_announced_file_is_awaited_until_its_bytes_are_there(
    files: FileService, objects: FakeObjects, store: FakeFileStore
) -> None:
    file, form = files.create_upload("acme", UPLOAD)
    assert form.fields == {"key": f"files/acme/{file.id}", "sizes": "1-1000", "seconds": "900"}
    assert not files.get("acme", file.id).is_uploaded
    assert files.list_files("acme").files == ()
    with pytest.raises(NotFoundError):
        files.create_download_url(ticket_of(file))
    objects.objects[file.object_key] = b"12345"
    assert files.get("acme", file.id).size_bytes == 5
    assert store.files["acme", file.id].size_bytes == 5


def test_a_list_finds_announced_files_that_have_arrived(files: FileService, objects: FakeObjects) -> None:
    file, _ = files.create_upload("acme", UPLOAD)
    objects.objects[file.object_key] = b"12345"
    assert [found.id for found in files.list_files("acme").files] == [file.id]


def test_a_file_can_be_fetched_before_anybody_looked_at_it(files: FileService, objects: FakeObjects) -> None:
    file, _ = files.create_upload("acme", UPLOAD)
    objects.objects[file.object_key] = b"12345"
    assert files.create_download_url(ticket_of(file)).startswith(f"https://objects.example/{file.object_key}")


def test_a_size_that_was_announced_is_the_only_one_accepted(files: FileService) -> None:
    _, form = files.create_upload("acme", CreateUploadBody(filename="a", size=7))
    assert form.fields["sizes"] == "7-7"


def test_a_size_beyond_the_limit_is_refused_before_the_upload(files: FileService) -> None:
    with pytest.raises(ApiError) as refused:
        files.create_upload("acme", CreateUploadBody(filename="a", size=1001))
    assert (refused.value.status, refused.value.invalid_fields[0].field) == (422, "size")


def test_a_download_needs_our_signature_and_its_time(files: FileService, clock: FakeClock) -> None:
    file = files.create("acme", FORM)
    ticket = ticket_of(file)
    assert files.create_download_url(ticket) == f"https://objects.example/{file.object_key}?seconds=900"
    forged = parse_download_url(build_download_url("https://api.example", file, b"t" * 32))
    assert forged is not None
    with pytest.raises(NotFoundError):
        files.create_download_url(forged)
    clock.advance(hours=25)
    with pytest.raises(NotFoundError):
        files.create_download_url(ticket)
