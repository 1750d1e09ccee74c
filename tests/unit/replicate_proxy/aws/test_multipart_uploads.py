"""Uploads in parts, by the clients of the functions, to an S3 that compares checksums as AWS does.

moto and the local AWS do not: they complete an upload whatever checksums its parts have.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.awsrequest import AWSRequest, AWSResponse, HeadersDict

from replicate_proxy.aws.batch_objects import S3BatchObjects
from replicate_proxy.aws.blob_store import S3BlobStore
from replicate_proxy.aws.clients import get_client, get_presigning_client
from replicate_proxy.errors import NotFoundError
from tests.support.handlers import clear_clients

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from botocore.awsrequest import AWSPreparedRequest
    from types_boto3_s3 import S3Client

BUCKET = "images"
KEY = "batches/acme/b/results.jsonl"
_CHECKSUM = re.compile(r"x-amz-checksum-(crc32|crc32c|crc64nvme|sha1|sha256)")


class CheckingS3:
    """Answers the requests of one upload.

    Where it is started without an algorithm, S3 takes no part with a checksum: it cannot be completed, by the
    error InvalidPart (https://github.com/aws/aws-sdk-go-v2/issues/3005). Where it is started with one, every
    part has its checksum, and so has the request that completes it (Amazon S3 API Reference, "UploadPart",
    `x-amz-sdk-checksum-algorithm`; "CompleteMultipartUpload").
    """

    def __init__(self) -> None:
        self.is_complete = False
        self._algorithm: str | None = None
        self._parts: list[str | None] = []

    def answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        query = parse_qs(urlsplit(request.url).query, keep_blank_values=True)
        headers = {name.lower(): to_text(value) for name, value in request.headers.items()}
        if "uploads" in query:
            self._algorithm = headers.get("x-amz-checksum-algorithm", "").lower() or None
            return respond(
                "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
            )
        if "partNumber" in query:
            return self._take_part(headers)
        if "uploadId" in query and request.method == "POST":
            return self._complete(str(request.body))
        return respond("", status=204 if request.method == "DELETE" else 404)

    def _take_part(self, headers: Mapping[str, str]) -> AWSResponse:
        names = [*headers, headers.get("x-amz-trailer", "")]
        algorithms = [match[1] for name in names if (match := _CHECKSUM.fullmatch(name))]
        self._parts.append(algorithms[0] if algorithms else None)
        returned = {f"x-amz-checksum-{name}": "c" for name in algorithms}
        return respond("", headers={"ETag": f'"{len(self._parts)}"', **returned})

    def _complete(self, body: str) -> AWSResponse:
        if any(algorithm != self._algorithm for algorithm in self._parts):
            return respond("<Error><Code>InvalidPart</Code></Error>", status=400)
        if self._algorithm and body.count(f"<Checksum{self._algorithm.upper()}>") != len(self._parts):
            return respond("<Error><Code>InvalidRequest</Code></Error>", status=400)
        self.is_complete = True
        return respond("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")


class Body(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def to_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def respond(body: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> AWSResponse:
    fields: Any = HeadersDict(headers or {})
    return AWSResponse("https://s3.amazonaws.com", status, fields, Body(body.encode()))


def attach(client: S3Client) -> CheckingS3:
    s3 = CheckingS3()
    events: Any = client.meta.events
    events.register("before-send.s3", s3.answer)
    return s3


@pytest.fixture(autouse=True)
def without_cached_clients() -> Iterator[None]:
    clear_clients()
    yield
    clear_clients()


def test_results_of_a_batch_are_complete_by_the_client_of_the_functions() -> None:
    client = get_client("s3")
    s3, objects = attach(client), S3BatchObjects(client, BUCKET)

    upload = objects.start_upload(KEY)
    tags = [objects.upload_part(KEY, upload, number, b"line\n") for number in (1, 2)]
    objects.complete_upload(KEY, upload, tags)

    assert s3.is_complete


def test_large_file_is_complete_by_the_client_of_the_functions() -> None:
    client = get_client("s3")
    s3 = attach(client)

    assert S3BlobStore(client, BUCKET).put_file(
        KEY, io.BytesIO(bytes(9 * 1024 * 1024)), content_type="image/png", sha256="00"
    )
    assert s3.is_complete


def test_upload_by_urls_has_no_checksum_that_the_parts_of_browsers_lack() -> None:
    client = get_presigning_client()
    s3 = attach(client)
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=KEY)["UploadId"]
    url = client.generate_presigned_url(
        "upload_part", Params={"Bucket": BUCKET, "Key": KEY, "UploadId": upload, "PartNumber": 1}
    )

    s3.answer(AWSRequest("PUT", url, data=b"x").prepare())
    client.complete_multipart_upload(
        Bucket=BUCKET, Key=KEY, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": "1"}]}
    )

    assert "checksum" not in url
    assert s3.is_complete


def test_part_with_a_checksum_that_the_upload_lacks_makes_it_fail() -> None:
    client = get_client("s3")
    s3, objects = attach(client), S3BatchObjects(client, BUCKET)
    upload = objects.start_upload(KEY)
    tag = client.upload_part(
        Bucket=BUCKET, Key=KEY, UploadId=upload, PartNumber=1, Body=b"x", ChecksumAlgorithm="CRC32"
    )["ETag"]

    with pytest.raises(NotFoundError):
        objects.complete_upload(KEY, upload, [tag])
    assert not s3.is_complete
