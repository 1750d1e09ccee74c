"""FileService: files from upload to expiry."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.files.ports import UploadForm
from replicate_proxy.files.signed_downloads import build_download_url, parse_download_url
from tests.unit.replicate_proxy.files.conftest import MEBIBYTE, SIGNING_KEY, FakeFileStore, FakeObjects

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.files.multipart import MultipartUpload, UploadedPart
    from replicate_proxy.files.ports import ObjectMetadata, PartUpload
    from replicate_proxy.files.service import FileService
    from replicate_proxy.files.signed_downloads import SignedDownload
    from tests.support.clock import FakeClock


def create_file(files: FileService) -> StoredFile:
    return files.create("acme", b"cat", name="cat.png", content_type="image/png", metadata={"a": 1})


def create_upload(files: FileService, size_bytes: int | None = None) -> tuple[StoredFile, UploadForm]:
    file, form = files.create_upload(
        "acme", name="big.zip", content_type="application/zip", metadata={}, size_bytes=size_bytes
    )
    assert isinstance(form, UploadForm)
    return file, form


def start_multipart_upload(files: FileService) -> tuple[StoredFile, tuple[PartUpload, ...]]:
    """Start an upload of 40 MiB, in parts of 16, 16 and 8 MiB."""
    file, parts = files.create_upload(
        "acme", name="big.zip", content_type="application/zip", metadata={}, size_bytes=40 * MEBIBYTE
    )
    assert isinstance(parts, tuple)
    return file, parts


def send_parts(objects: FakeObjects, file: StoredFile, *parts: PartUpload) -> None:
    assert file.multipart is not None
    for part in parts:
        objects.parts[file.multipart.id][part.number] = bytes(part.size_bytes)


def run_after_metadata(
    monkeypatch: pytest.MonkeyPatch, objects: FakeObjects, act: Callable[[], object]
) -> None:
    """Let another request act after the next read of metadata."""
    get_metadata = objects.get_metadata

    def get_metadata_before_act(key: str) -> ObjectMetadata | None:
        metadata = get_metadata(key)
        monkeypatch.undo()
        act()
        return metadata

    monkeypatch.setattr(objects, "get_metadata", get_metadata_before_act)


def sign_download(file: StoredFile, signing_key: bytes = SIGNING_KEY) -> SignedDownload:
    download = parse_download_url(build_download_url("https://api.example", file, signing_key))
    assert download is not None
    return download


def test_create_stores_content_and_checksums(files: FileService, objects: FakeObjects) -> None:
    file = create_file(files)
    assert objects.objects == {f"files/acme/{file.id}": b"cat"}
    assert (file.size_bytes, file.checksums) == (
        3,
        {"sha256": hashlib.sha256(b"cat").hexdigest(), "md5": hashlib.md5(b"cat").hexdigest()},  # noqa: S324 - the checksum of S3
    )
    assert files.get("acme", file.id) == file


def test_file_does_not_exist_for_other_tenant(files: FileService, objects: FakeObjects) -> None:
    file = create_file(files)
    with pytest.raises(NotFoundError):
        files.get("globex", file.id)
    with pytest.raises(NotFoundError):
        files.delete("globex", file.id)
    assert files.list_files("globex").files == ()
    assert objects.objects


@pytest.mark.parametrize("file_id", ["", "x", "../acme", "01J", "a" * 27])
def test_get_rejects_malformed_id(files: FileService, file_id: str) -> None:
    with pytest.raises(NotFoundError):
        files.get("acme", file_id)


def test_delete_removes_record_and_content(files: FileService, objects: FakeObjects) -> None:
    file = create_file(files)
    files.delete("acme", file.id)
    assert objects.objects == {}
    for _ in range(2):
        with pytest.raises(NotFoundError):
            files.delete("acme", file.id)


def test_expired_file_does_not_exist_even_if_record_remains(files: FileService, clock: FakeClock) -> None:
    file = create_file(files)
    clock.advance(hours=24)
    with pytest.raises(NotFoundError):
        files.get("acme", file.id)
    with pytest.raises(NotFoundError):
        files.create_download_url(sign_download(file))
    assert files.list_files("acme").files == ()


def test_list_pages_files_newest_first(files: FileService, clock: FakeClock) -> None:
    created_ids = []
    for _ in range(250):
        created_ids.append(create_file(files).id)
        clock.advance(seconds=1)
    listed_ids: list[str] = []
    before_id, page_count = None, 0
    while page_count == 0 or before_id:
        page = files.list_files("acme", before_id=before_id)
        listed_ids += [file.id for file in page.files]
        before_id, page_count = page.next_before_id, page_count + 1
    assert listed_ids == created_ids[::-1]
    assert page_count == 3


def test_upload_is_pending_until_content_exists(
    files: FileService, objects: FakeObjects, store: FakeFileStore
) -> None:
    file, form = create_upload(files)
    assert form.fields == {"key": f"files/acme/{file.id}", "sizes": "1-1000", "seconds": "900"}
    assert not files.get("acme", file.id).is_uploaded
    assert files.list_files("acme").files == ()
    with pytest.raises(NotFoundError):
        files.create_download_url(sign_download(file))
    objects.objects[file.object_key] = b"12345"
    assert files.get("acme", file.id).size_bytes == 5
    assert store.files["acme", file.id].size_bytes == 5


def test_list_includes_finished_uploads(files: FileService, objects: FakeObjects) -> None:
    file, _ = create_upload(files)
    objects.objects[file.object_key] = b"12345"
    assert [listed.id for listed in files.list_files("acme").files] == [file.id]


@pytest.mark.parametrize("method", ["get", "list_files"])
def test_file_deleted_while_its_upload_is_noticed_stays_deleted(
    files: FileService, objects: FakeObjects, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    file, _ = create_upload(files)
    objects.objects[file.object_key] = b"12345"
    run_after_metadata(monkeypatch, objects, lambda: files.delete("acme", file.id))
    if method == "get":
        with pytest.raises(NotFoundError):
            files.get("acme", file.id)
    assert files.list_files("acme").files == ()
    assert objects.objects == {}


def test_upload_noticed_by_two_requests_is_recorded_once(
    files: FileService, objects: FakeObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _ = create_upload(files)
    objects.objects[file.object_key] = b"12345"
    run_after_metadata(monkeypatch, objects, lambda: files.get("acme", file.id))
    assert files.get("acme", file.id).size_bytes == 5
    assert [listed.id for listed in files.list_files("acme").files] == [file.id]


def test_finished_upload_can_be_downloaded_at_once(files: FileService, objects: FakeObjects) -> None:
    file, _ = create_upload(files)
    objects.objects[file.object_key] = b"12345"
    assert files.create_download_url(sign_download(file)).startswith(
        f"https://objects.example/{file.object_key}"
    )


def test_upload_form_accepts_only_announced_size(files: FileService) -> None:
    _, form = create_upload(files, size_bytes=7)
    assert form.fields["sizes"] == "7-7"


def test_create_upload_rejects_size_beyond_limit(files: FileService) -> None:
    with pytest.raises(ApiError) as raised:
        create_upload(files, size_bytes=50 * MEBIBYTE + 1)
    assert (raised.value.status, raised.value.invalid_fields[0].field) == (422, "size")


def test_download_requires_valid_unexpired_signature(files: FileService, clock: FakeClock) -> None:
    file = create_file(files)
    download = sign_download(file)
    assert files.create_download_url(download) == f"https://objects.example/{file.object_key}?seconds=900"
    with pytest.raises(NotFoundError):
        files.create_download_url(sign_download(file, b"t" * 32))
    clock.advance(hours=25)
    with pytest.raises(NotFoundError):
        files.create_download_url(download)


def test_file_above_the_limit_of_forms_is_uploaded_in_parts(
    files: FileService, objects: FakeObjects, store: FakeFileStore
) -> None:
    file, parts = start_multipart_upload(files)
    assert [(part.number, part.size_bytes) for part in parts] == [
        (1, 16 * MEBIBYTE),
        (2, 16 * MEBIBYTE),
        (3, 8 * MEBIBYTE),
    ]
    assert all("seconds=3600" in part.url for part in parts)
    assert not files.get("acme", file.id).is_uploaded

    send_parts(objects, file, *parts)
    completed = files.complete_upload("acme", file.id)

    assert (completed.size_bytes, completed.multipart) == (40 * MEBIBYTE, None)
    assert files.get("acme", file.id) == completed == store.get("acme", file.id)


def test_completing_an_upload_again_returns_the_file(files: FileService, objects: FakeObjects) -> None:
    file, parts = start_multipart_upload(files)
    send_parts(objects, file, *parts)
    assert files.complete_upload("acme", file.id) == files.complete_upload("acme", file.id)


def test_upload_that_was_completed_unnoticed_is_found(files: FileService, objects: FakeObjects) -> None:
    """The function ended after S3 had completed the upload, before the record was saved."""
    file, parts = start_multipart_upload(files)
    send_parts(objects, file, *parts)
    assert file.multipart is not None
    uploaded = objects.list_parts(file.object_key, file.multipart)
    objects.complete_multipart_upload(file.object_key, file.multipart, uploaded)

    assert files.complete_upload("acme", file.id).size_bytes == 40 * MEBIBYTE


def test_upload_whose_completion_is_repeated_is_complete(files: FileService, objects: FakeObjects) -> None:
    """The SDK repeats a completion whose response is lost; S3 then knows no such upload any more."""
    file, parts = start_multipart_upload(files)
    send_parts(objects, file, *parts)
    complete = objects.complete_multipart_upload

    def complete_twice(key: str, upload: MultipartUpload, parts: Mapping[int, UploadedPart]) -> None:
        complete(key, upload, parts)
        raise NotFoundError("no such upload")

    objects.complete_multipart_upload = complete_twice  # type: ignore[method-assign] # this test only

    completed = files.complete_upload("acme", file.id)

    assert completed.size_bytes == 40 * MEBIBYTE
    assert files.get("acme", file.id) == completed


def test_aborted_upload_cannot_be_completed(files: FileService, objects: FakeObjects) -> None:
    file, parts = start_multipart_upload(files)
    send_parts(objects, file, *parts)
    objects.parts.clear()
    with pytest.raises(NotFoundError):
        files.complete_upload("acme", file.id)


def test_upload_with_missing_parts_is_not_completed(files: FileService, objects: FakeObjects) -> None:
    file, parts = start_multipart_upload(files)
    send_parts(objects, file, parts[1])
    with pytest.raises(ApiError) as raised:
        files.complete_upload("acme", file.id)
    assert (raised.value.status, raised.value.detail.endswith("among them 1, 3")) == (409, True)
    assert not files.get("acme", file.id).is_uploaded


def test_resumed_upload_lists_missing_parts(files: FileService, objects: FakeObjects) -> None:
    file, parts = start_multipart_upload(files)
    send_parts(objects, file, parts[1])
    resumed, missing = files.resume_upload("acme", file.id)
    assert resumed == file
    assert missing == (parts[0], parts[2])


def test_deleting_an_unfinished_upload_deletes_its_parts(files: FileService, objects: FakeObjects) -> None:
    file, parts = start_multipart_upload(files)
    send_parts(objects, file, parts[0])
    files.delete("acme", file.id)
    assert objects.parts == {}
    with pytest.raises(NotFoundError):
        files.get("acme", file.id)


def test_upload_of_other_tenant_or_by_form_or_aborted_cannot_be_resumed(
    files: FileService, objects: FakeObjects
) -> None:
    in_parts, _ = start_multipart_upload(files)
    by_form, _ = create_upload(files)
    for tenant, file in (("globex", in_parts), ("acme", by_form)):
        with pytest.raises(NotFoundError):
            files.resume_upload(tenant, file.id)
        with pytest.raises(NotFoundError):
            files.complete_upload(tenant, file.id)
    objects.parts.clear()  # the lifecycle rule of the bucket
    with pytest.raises(NotFoundError):
        files.resume_upload("acme", in_parts.id)
