"""What happened to one job, told by those it happened at: Replicate, S3, the output URL, the application.

File references in a prediction's output, whatever its shape, in reading order. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tools.local.errors import LocalError
from tools.local.stack import Stack

TIMEOUT_SECONDS = 60.0
SUCCESS = 2  # the class of HTTP status codes


@dataclass(frozen=True)
class StoredFile:
    """One output: at Replicate, in S3, by its URL, on this disk. Sizes in bytes; None where unknown."""

    url: str
    bucket: str
    key: str
    source_bytes: int | None
    stored_bytes: int
    stored_at: datetime
    served_bytes: int
    saved_as: Path

    @property
    def is_complete(self) -> bool:
        return self.stored_bytes == self.served_bytes == self.saved_as.stat().st_size


class EvidenceCollector:
    """Asks each of them. `token` is the upstream's."""

    def __init__(self, stack: Stack, token: str, folder: Path) -> None:
        self._stack = stack
        self._token = token
        self._folder = folder

    def record(self, url: str) -> dict[str, Any]:
        """The job as the proxy tells it, with its own extra field `proxy`."""
        return self._json(url, self._stack.api_key)

    def upstream(self, replicate_id: str) -> dict[str, Any]:
        """The prediction as Replicate tells it."""
        return self._json(f"{self._stack.upstream_url}/v1/predictions/{replicate_id}", self._token)

    def webhook_answered(self, replicate_id: str) -> bool | None:
        """Whether the local Replicate got a 2xx for the terminal webhook; Replicate itself doesn't tell."""
        if self._stack.upstream_url != self._stack.simulator_url:
            return None
        told = self._json(
            f"{self._stack.upstream_url}/_control/predictions/{replicate_id}/timeline", self._token
        )
        final = [attempt for attempt in told["webhook_attempts"] if attempt["status"] == told["status"]]
        return any((attempt["status_code"] or 0) // 100 == SUCCESS for attempt in final)

    def files(self, output: Any, source_output: Any) -> list[StoredFile]:
        """Every file of the output, fetched as Replicate's Python client does, with the API key as header."""
        sources = list(iterate_urls(source_output))
        urls = list(iterate_urls(output))
        sizes = [self._size(url) for url in sources] if len(sources) == len(urls) else [None] * len(urls)
        return [self._stored(url, size) for url, size in zip(urls, sizes, strict=True)]

    def _stored(self, url: str, source_bytes: int | None) -> StoredFile:
        if not url.startswith(self._stack.cdn_url):
            raise LocalError(
                f"the output still lies at Replicate, not in S3: {url}; see `make logs FN=harvest`"
            )
        bucket, key = self._stack.outputs["DataBucketName"], get_object_key(url)
        head = self._stack.get_client("s3").head_object(Bucket=bucket, Key=key)
        headers = {"Authorization": f"Bearer {self._stack.api_key}"}
        answer = requests.get(url, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False)
        if answer.status_code != requests.codes.ok:
            raise LocalError(f"{url} answered {answer.status_code}")
        path = self._folder / "-".join(key.split("/")[-2:])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(answer.content)
        return StoredFile(
            url,
            bucket,
            key,
            source_bytes,
            head["ContentLength"],
            head["LastModified"],
            len(answer.content),
            path,
        )

    def _size(self, url: str) -> int | None:
        """Replicate keeps a file for an hour, so its size can be asked for; None where it can't."""
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = requests.get(url, headers=headers, timeout=TIMEOUT_SECONDS)
        return len(answer.content) if answer.ok else None

    def _json(self, url: str, token: str) -> dict[str, Any]:
        answer = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_SECONDS)
        if not answer.ok:
            raise LocalError(f"{url} answered {answer.status_code}: {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found


def iterate_urls(output: Any) -> Iterator[str]:
    """Every URL in a JSON value, depth first."""
    if isinstance(output, str):
        if output.startswith(("https://", "http://")):
            yield output
    elif isinstance(output, list):
        for value in output:
            yield from iterate_urls(value)
    elif isinstance(output, dict):
        for value in output.values():
            yield from iterate_urls(value)


def get_object_key(url: str) -> str:
    """The object key that an output URL names."""
    return urlsplit(url).path.lstrip("/")
