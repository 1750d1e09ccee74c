"""The operations of S3 on buckets without versioning."""

from __future__ import annotations

import base64
import hashlib
import io
from bisect import bisect_left
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from botocore.response import StreamingBody

from tools.simulation.aws.calls import Service, operation, refuse_unknown
from tools.simulation.aws.errors import RejectedError
from tools.simulation.aws.s3_objects import (
    ENCRYPTION_OPTIONS,
    OBJECT_OPTIONS,
    Bucket,
    ObjectObserver,
    StoredObject,
    calculate_etag,
    calculate_sha256,
    describe_listed,
    describe_object,
    parse_range,
    select_encryption,
    select_headers,
)
from tools.simulation.aws.s3_uploads import Upload, collect_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.simulation.aws.calls import Parameters, Response

MIN_PART_BYTES = 5 * 1024 * 1024
_MAX_PARTS = 10_000
_MAX_KEY_BYTES = 1024
_MAX_LISTED = 1000
_MAX_DELETED = 1000


def _read_body(_: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """Read the body once, so that the call can be performed again, as the SDK rewinds it for a repetition."""
    body = parameters.get("Body", b"")
    if isinstance(body, str):
        body = body.encode()
    return {**parameters, "Body": bytes(body if isinstance(body, bytes | bytearray) else body.read())}


class InMemoryS3(Service):
    """Buckets by name. Parts of uploads have `min_part_bytes` at least, except for the last one."""

    name = "s3"

    def __init__(self, now: Callable[[], float]) -> None:
        self.min_part_bytes = MIN_PART_BYTES
        self._now = now
        self._buckets: dict[str, Bucket] = {}
        self._uploads: dict[str, Upload] = {}
        self._upload_count = 0

    def create_bucket(self, name: str) -> None:
        self._buckets[name] = Bucket()

    def objects(self, bucket: str) -> Mapping[str, StoredObject]:
        """Return the objects of a bucket by key, in no particular order."""
        return self._buckets[bucket].objects

    def describe_uploads(self, bucket: str) -> list[tuple[str, str, list[tuple[int, str]]]]:
        """Return ID, key, and the numbers and ETags of the parts of each upload that is not completed."""
        return [
            (upload_id, upload.key, sorted((number, etag) for number, (_, etag) in upload.parts.items()))
            for upload_id, upload in self._uploads.items()
            if upload.bucket == bucket
        ]

    def observe(self, bucket: str, observer: ObjectObserver) -> None:
        """Call the observer after each write and deletion of an object."""
        self._buckets[bucket].observers.append(observer)

    @operation(
        "Bucket",
        "Key",
        optional=(
            "Body",
            "ChecksumSHA256",
            "ContentMD5",
            "IfMatch",
            "IfNoneMatch",
            *OBJECT_OPTIONS,
            *ENCRYPTION_OPTIONS,
        ),
        is_write=True,
        prepare=_read_body,
    )
    def put_object(self, parameters: Parameters) -> Response:
        bucket, key = self._get_bucket(parameters), _check_key(parameters["Key"])
        body: bytes = parameters["Body"]
        _check_digests(body, parameters)
        self._check_conditions(bucket, parameters)
        stored = StoredObject(body, calculate_etag(body), self._now(), select_headers(parameters))
        bucket.put(key, stored)
        return {"ETag": stored.etag, **select_encryption(stored.headers)}

    @operation("Bucket", "Key", optional=("IfMatch", "IfNoneMatch", "Range"))
    def get_object(self, parameters: Parameters) -> Response:
        stored = self._read(parameters, "NoSuchKey", "The specified key does not exist.")
        content, described = stored.body, describe_object(stored)
        if "Range" in parameters:
            start, end = parse_range(parameters["Range"], len(content))
            described["ContentRange"] = f"bytes {start}-{end - 1}/{len(content)}"
            content = content[start:end]
            described["ContentLength"] = len(content)
        return {"Body": StreamingBody(io.BytesIO(content), len(content)), **described}

    @operation("Bucket", "Key", optional=("IfMatch", "IfNoneMatch"))
    def head_object(self, parameters: Parameters) -> Response:
        return describe_object(self._read(parameters, "404", "Not Found"))

    @operation("Bucket", "Key", is_write=True)
    def delete_object(self, parameters: Parameters) -> Response:
        self._get_bucket(parameters).delete(parameters["Key"])
        return {}

    @operation("Bucket", "Delete", is_write=True)
    def delete_objects(self, parameters: Parameters) -> Response:
        bucket = self._get_bucket(parameters)
        request = parameters["Delete"]
        refuse_unknown(request, "Objects", "Quiet", place="Delete")
        if not 1 <= len(request["Objects"]) <= _MAX_DELETED:
            raise RejectedError(
                "MalformedXML",
                "The XML you provided was not well-formed or did not validate against our published schema",
            )
        for entry in request["Objects"]:
            refuse_unknown(entry, "Key", place="Delete.Objects")
            bucket.delete(entry["Key"])
        return (
            {}
            if request.get("Quiet")
            else {"Deleted": [{"Key": entry["Key"]} for entry in request["Objects"]]}
        )

    @operation("Bucket", optional=("ContinuationToken", "MaxKeys", "Prefix", "StartAfter"))
    def list_objects_v2(self, parameters: Parameters) -> Response:
        bucket = self._get_bucket(parameters)
        prefix = parameters.get("Prefix", "")
        limit = min(parameters.get("MaxKeys", _MAX_LISTED), _MAX_LISTED)
        after = max(parameters.get("StartAfter", ""), parameters.get("ContinuationToken", ""))
        start = max(bisect_left(bucket.keys, prefix), bisect_left(bucket.keys, after + "\0") if after else 0)
        keys: list[str] = []
        for key in bucket.keys[start : start + limit + 1]:
            if not key.startswith(prefix):
                break
            keys.append(key)
        is_truncated = len(keys) > limit
        keys = keys[:limit]
        response: dict[str, Any] = {
            "IsTruncated": is_truncated,
            "KeyCount": len(keys),
            "MaxKeys": parameters.get("MaxKeys", _MAX_LISTED),
            "Name": parameters["Bucket"],
            "Prefix": prefix,
        }
        if keys:
            response["Contents"] = [describe_listed(key, bucket.objects[key]) for key in keys]
        if is_truncated:
            response["NextContinuationToken"] = keys[-1] if keys else after
        return response

    @operation(
        "Bucket",
        "Key",
        optional=("ChecksumAlgorithm", *OBJECT_OPTIONS, *ENCRYPTION_OPTIONS),
        is_write=True,
    )
    def create_multipart_upload(self, parameters: Parameters) -> Response:
        self._get_bucket(parameters)
        if parameters.get("ChecksumAlgorithm", "SHA256") != "SHA256":
            raise NotImplementedError("the in-memory S3 handles ChecksumAlgorithm=SHA256 only")
        self._upload_count += 1
        upload_id = f"upload-{self._upload_count}"
        headers = select_headers(parameters)
        self._uploads[upload_id] = Upload(parameters["Bucket"], _check_key(parameters["Key"]), headers)
        return {"Bucket": parameters["Bucket"], "Key": parameters["Key"], "UploadId": upload_id}

    @operation(
        "Bucket",
        "Key",
        "PartNumber",
        "UploadId",
        optional=("Body", "ChecksumAlgorithm", "ContentMD5"),
        is_write=True,
        prepare=_read_body,
    )
    def upload_part(self, parameters: Parameters) -> Response:
        upload = self._get_upload(parameters)
        number = parameters["PartNumber"]
        if not 1 <= number <= _MAX_PARTS:
            raise RejectedError(
                "InvalidArgument", f"Part number must be an integer between 1 and {_MAX_PARTS}, inclusive"
            )
        body: bytes = parameters["Body"]
        _check_digests(body, parameters)
        etag = calculate_etag(body)
        upload.parts[number] = (body, etag)
        return (
            {"ETag": etag, "ChecksumSHA256": calculate_sha256(body)}
            if "ChecksumAlgorithm" in parameters
            else {"ETag": etag}
        )

    @operation(
        "Bucket", "Key", "MultipartUpload", "UploadId", optional=("IfMatch", "IfNoneMatch"), is_write=True
    )
    def complete_multipart_upload(self, parameters: Parameters) -> Response:
        bucket, upload = self._get_bucket(parameters), self._get_upload(parameters)
        refuse_unknown(parameters["MultipartUpload"], "Parts", place="MultipartUpload")
        bodies = collect_parts(
            upload, parameters["MultipartUpload"].get("Parts", ()), min_bytes=self.min_part_bytes
        )
        self._check_conditions(bucket, parameters)
        digests = b"".join(hashlib.md5(body, usedforsecurity=False).digest() for body in bodies)
        etag = f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(bodies)}"'
        stored = StoredObject(b"".join(bodies), etag, self._now(), upload.headers)
        bucket.put(upload.key, stored)
        del self._uploads[parameters["UploadId"]]
        return {"Bucket": upload.bucket, "Key": upload.key, "ETag": etag, **select_encryption(stored.headers)}

    @operation("Bucket", "Key", "UploadId", is_write=True)
    def abort_multipart_upload(self, parameters: Parameters) -> Response:
        self._get_upload(parameters)
        del self._uploads[parameters["UploadId"]]
        return {}

    def local_methods(self) -> Mapping[str, Callable[..., Any]]:
        return {
            "generate_presigned_url": self._generate_presigned_url,
            "generate_presigned_post": self._generate_presigned_post,
        }

    def _generate_presigned_url(
        self,
        ClientMethod: str,  # noqa: N803 - names of boto3
        *,
        Params: Mapping[str, Any],  # noqa: N803
        ExpiresIn: int,  # noqa: N803
    ) -> str:
        """Return a URL that names the request and the time at which it expires."""
        query = {name: value for name, value in Params.items() if name not in {"Bucket", "Key"}}
        expiry = {"X-Amz-Method": ClientMethod, "X-Amz-Expires-At": int(self._now() + ExpiresIn)}
        return f"{_object_url(Params['Bucket'], Params['Key'])}?{urlencode({**query, **expiry})}"

    def _generate_presigned_post(
        self,
        Bucket: str,  # noqa: N803 - names of boto3
        Key: str,  # noqa: N803
        *,
        Fields: Mapping[str, str],  # noqa: N803
        Conditions: list[Any],  # noqa: N803
        ExpiresIn: int,  # noqa: N803
    ) -> Response:
        """Return a form whose policy is readable text instead of a signature."""
        expires_at = datetime.fromtimestamp(self._now() + ExpiresIn, UTC).isoformat()
        policy = f"expires {expires_at}, conditions {Conditions}"
        return {
            "url": f"https://{Bucket}.s3.amazonaws.com/",
            "fields": {**Fields, "key": Key, "policy": policy},
        }

    def _get_bucket(self, parameters: Parameters) -> Bucket:
        bucket = self._buckets.get(parameters["Bucket"])
        if bucket is None:
            raise RejectedError(
                "NoSuchBucket",
                "The specified bucket does not exist",
                status=404,
            )
        return bucket

    def _get_upload(self, parameters: Parameters) -> Upload:
        upload = self._uploads.get(parameters["UploadId"])
        if upload is None or (upload.bucket, upload.key) != (parameters["Bucket"], parameters["Key"]):
            raise RejectedError(
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the upload may"
                " have been"
                " aborted or completed.",
                status=404,
            )
        return upload

    def _read(self, parameters: Parameters, missing_code: str, message: str) -> StoredObject:
        stored = self._get_bucket(parameters).objects.get(parameters["Key"])
        if stored is None:
            raise RejectedError(missing_code, message, status=404)
        if_match, if_none_match = parameters.get("IfMatch"), parameters.get("IfNoneMatch")
        if if_match is not None and not _matches(stored, if_match):
            raise _precondition_failed() if missing_code != "404" else _bare_error(412, "Precondition Failed")
        if if_none_match is not None and _matches(stored, if_none_match):
            raise _bare_error(304, "Not Modified")
        return stored

    def _check_conditions(self, bucket: Bucket, parameters: Parameters) -> None:
        """Raise the error of a write whose condition is not met (S3 user guide, "Conditional writes")."""
        if_match, if_none_match = parameters.get("IfMatch"), parameters.get("IfNoneMatch")
        stored = bucket.objects.get(parameters["Key"])
        if if_none_match is not None:
            if if_none_match != "*":
                raise NotImplementedError(
                    f"the in-memory S3 does not handle a write with IfNoneMatch={if_none_match}"
                )
            if stored is not None:
                raise _precondition_failed()
        if if_match is not None:
            if stored is None:
                raise RejectedError("NoSuchKey", "The specified key does not exist.", status=404)
            if not _matches(stored, if_match):
                raise _precondition_failed()


def _precondition_failed() -> RejectedError:
    return RejectedError(
        "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", status=412
    )


def _bare_error(status: int, message: str) -> RejectedError:
    """Return an error whose response has no body, so that its code is the status."""
    return RejectedError(str(status), message, status=status)


def _matches(stored: StoredObject, etag: str) -> bool:
    return etag == "*" or etag.strip('"') == stored.etag.strip('"')


def _check_key(key: str) -> str:
    if len(key.encode("utf-8", "surrogatepass")) > _MAX_KEY_BYTES:
        raise RejectedError("KeyTooLongError", "Your key is too long")
    return key


def _check_digests(body: bytes, parameters: Parameters) -> None:
    md5 = parameters.get("ContentMD5")
    if md5 is not None and base64.b64decode(md5) != hashlib.md5(body, usedforsecurity=False).digest():
        raise RejectedError("BadDigest", "The Content-MD5 you specified did not match what we received.")
    sha256 = parameters.get("ChecksumSHA256")
    if sha256 is not None and sha256 != calculate_sha256(body):
        raise RejectedError("BadDigest", "The SHA256 you specified did not match the calculated checksum.")


def _object_url(bucket: str, key: str) -> str:
    return f"https://{bucket}.s3.amazonaws.com/{quote(key)}"
