"""Evidence of what happened to a job, from the API, Replicate, S3 and the output URLs."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import requests

from tools.local.errors import LocalError
from tools.local.stack import Stack

_TIMEOUT_SECONDS = 60.0
_MAX_NAME_CHARACTERS = 60


@dataclass(frozen=True)
class StoredFile:
    """A file of an output: at Replicate, in S3, as served by its URL, and saved on disk.

    `source_bytes` is None if the size at Replicate is unknown; S3's `stored_at` has whole seconds.
    """

    url: str
    bucket: str
    key: str
    source_bytes: int | None
    stored_bytes: int
    served_bytes: int
    saved_as: Path
    stored_at: datetime | None = None

    @property
    def is_complete(self) -> bool:
        return self.stored_bytes == self.served_bytes == self.saved_as.stat().st_size


class EvidenceCollector:
    """Fetches the evidence. Each method raises `LocalError` if it gets no successful response."""

    def __init__(self, stack: Stack, upstream_token: str, folder: Path, title: str) -> None:
        """Set `folder` to where the files are saved, with names that begin with the title."""
        self._stack = stack
        self._upstream_token = upstream_token
        self._folder = folder
        self._title = title

    def get_prediction(self, url: str) -> dict[str, Any]:
        """Return the prediction as our API shows it, with our additional field `proxy`."""
        return self._get_json(url, self._stack.api_key)

    def get_replicate_prediction(self, replicate_id: str) -> dict[str, Any]:
        """Return the prediction as Replicate shows it."""
        return self._get_json(
            f"{self._stack.upstream_url}/v1/predictions/{replicate_id}", self._upstream_token
        )

    def is_webhook_accepted(self, replicate_id: str) -> bool | None:
        """Return whether the local Replicate got a 2xx for its last webhook; None for Replicate itself."""
        if self._stack.upstream_url != self._stack.simulator_url:
            return None
        timeline = self._get_json(
            f"{self._stack.upstream_url}/_control/predictions/{replicate_id}/timeline", self._upstream_token
        )
        final_attempts = [
            attempt for attempt in timeline["webhook_attempts"] if attempt["status"] == timeline["status"]
        ]
        return any(
            requests.codes.ok <= (attempt["status_code"] or 0) < requests.codes.multiple_choices
            for attempt in final_attempts
        )

    def collect_files(self, output: Any, replicate_output: Any) -> list[StoredFile]:
        """Fetch and save every file of the output."""
        urls, source_urls = list(iterate_urls(output)), list(iterate_urls(replicate_output))
        if len(source_urls) == len(urls):
            sizes = [self._get_source_size(url) for url in source_urls]
        else:
            sizes = [None] * len(urls)
        names = build_file_names(self._title, urls)
        return [self._collect_file(*file) for file in zip(urls, names, sizes, strict=True)]

    def _get_source_size(self, url: str) -> int | None:
        """Return the size of a file at Replicate, which deletes it after an hour."""
        headers = {"Authorization": f"Bearer {self._upstream_token}"}
        response = requests.get(url, headers=headers, timeout=_TIMEOUT_SECONDS)
        return len(response.content) if response.ok else None

    def _collect_file(self, url: str, name: str, source_bytes: int | None) -> StoredFile:
        """Fetch the file as Replicate's Python client does: it sends the API key with the request."""
        if not url.startswith(self._stack.cdn_url):
            raise LocalError(
                f"the output is still at Replicate, not in S3: {url}; see `make logs FN=harvest`"
            )
        bucket, key = self._stack.outputs["DataBucketName"], get_object_key(url)
        head = self._stack.get_client("s3").head_object(Bucket=bucket, Key=key)
        headers = {"Authorization": f"Bearer {self._stack.api_key}"}
        response = requests.get(url, headers=headers, timeout=_TIMEOUT_SECONDS, allow_redirects=False)
        if response.status_code != requests.codes.ok:
            raise LocalError(f"GET {url} returned {response.status_code}")
        saved_as = self._folder / name
        saved_as.parent.mkdir(parents=True, exist_ok=True)
        saved_as.write_bytes(response.content)
        return StoredFile(
            url=url,
            bucket=bucket,
            key=key,
            source_bytes=source_bytes,
            stored_bytes=head["ContentLength"],
            served_bytes=len(response.content),
            saved_as=saved_as,
            stored_at=head["LastModified"],
        )

    def _get_json(self, url: str, token: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        response = requests.get(url, headers=headers, timeout=_TIMEOUT_SECONDS)
        if not response.ok:
            raise LocalError(f"GET {url} returned {response.status_code}: {response.text[:300]}")
        content: dict[str, Any] = response.json()
        return content


def build_file_names(title: str, urls: Sequence[str]) -> list[str]:
    """Return a readable file name for each URL: the title's words, a number if there are several files."""
    words = re.findall(r"[a-z0-9]+", title.lower())
    name = "-".join(words)[:_MAX_NAME_CHARACTERS].strip("-") or "output"
    numbers = [""] if len(urls) == 1 else [f"-{number}" for number in range(1, len(urls) + 1)]
    return [
        f"{name}{number}{PurePosixPath(urlsplit(url).path).suffix}"
        for number, url in zip(numbers, urls, strict=True)
    ]


def iterate_urls(output: Any) -> Iterator[str]:
    """Yield every URL in a JSON value, depth first."""
    if isinstance(output, str):
        if output.startswith(("https://", "http://")):
            yield output
    elif isinstance(output, list):
        for value in output:
            yield from iterate_urls(value)
    elif isinstance(output, dict):
        for value in output.values():
            yield from iterate_urls(value)


def get_object_key(output_url: str) -> str:
    """Return the key of the S3 object that an output URL names."""
    return urlsplit(output_url).path.lstrip("/")
