"""The URLs of streams: those that Replicate gives us, and ours, which clients get as `urls.stream`.

Replicate has streams of text on a host for each region (stream-b.svc.ric1.c.replicate.net in predictions of
December 2024 to November 2025, rno2 in place of ric1 in another), and streams of files on one of their own
(stream.replicate.com). CloudFront relays the streams of one host.

Ours are on the host of the output files, so that CloudFront serves them. The path says how; tenant,
prediction and signature in the query let a stored stream be served to whoever has the URL:

| path              | served from                                                                  |
|-------------------|------------------------------------------------------------------------------|
| /v1/streams/…     | Replicate's stream of the same path while it exists, then the stored output  |
| /v1/predictions/… | the same                                                                     |
| /v1/files/<id>    | the stored output; by this path npm `replicate` recognizes a stream of files |
| /streams/<id>     | the stored output: until the live stream is known, and on all other hosts    |

Replicate's own path of a stream of files is never handed out: its URLs of files expire, and the Python client
sends its API key to the hosts of files (docs/decisions/0040-streams-go-through-cloudfront.md).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from replicate_proxy import signing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.jobs.model import Job, Submission


class StreamKind(StrEnum):
    """What the predictions of a model stream."""

    NONE = "none"
    TEXT = "text"
    FILES = "files"


# The paths at Replicate's stream hosts; what follows is unguessable, and all that a reader needs.
_REPLICATE_URL = re.compile(
    r"(https?://[A-Za-z0-9.:-]{1,255})(/v1/(predictions|streams|files)/[A-Za-z0-9._~-]{16,512})", re.ASCII
)
# The kind of a stream is in its path: lib/stream.js of npm replicate 1.4.0, isFileStream.
_FILES = "files"


@dataclass(frozen=True, slots=True)
class ReplicateStream:
    """A stream at one of Replicate's stream hosts."""

    kind: StreamKind
    base_url: str
    path: str


@dataclass(frozen=True, slots=True)
class KnownStream:
    """What is known about the streams of a model; our stream URLs start with `base_url`."""

    kind: StreamKind
    base_url: str


def parse_replicate_stream(url: str) -> ReplicateStream | None:
    """Return the stream of a URL that Replicate gave, None if its form is another one."""
    match = _REPLICATE_URL.fullmatch(url)
    if match is None:
        return None
    base_url, path, folder = match.groups()
    return ReplicateStream(StreamKind.FILES if folder == _FILES else StreamKind.TEXT, base_url, path)


def build_live_stream_url(base_url: str, path: str, tenant: str, job_id: str, key: bytes) -> str:
    """Return our URL of a stream that Replicate serves at the path."""
    signature = signing.sign(key, tenant, job_id)
    query = urlencode({"tenant": tenant, "prediction": job_id, "signature": signature})
    return f"{base_url}{path}?{query}"


def build_stored_stream_url(known: KnownStream, tenant: str, job_id: str, key: bytes) -> str:
    """Return our URL of a stream that is served once the output is stored."""
    folder = "/v1/files" if known.kind is StreamKind.FILES else "/streams"
    return build_live_stream_url(known.base_url, f"{folder}/{job_id}", tenant, job_id, key)


def parse_stream_query(query: Mapping[str, str], load_key: Callable[[], bytes]) -> tuple[str, str] | None:
    """Return tenant and job ID of one of our stream URLs, None if the signature is not ours."""
    tenant, job_id = query.get("tenant", ""), query.get("prediction", "")
    if not signing.verify(load_key(), query.get("signature", ""), tenant, job_id):
        return None
    return tenant, job_id


@dataclass(frozen=True, slots=True)
class StreamUrlBuilder:
    """Builds our URL from the one that Replicate's response to a create request has.

    CloudFront relays the streams of `replicate_base_url`.
    """

    base_url: str
    replicate_base_url: str
    key: bytes

    def build(self, job: Job, replicate_url: str | None) -> tuple[KnownStream, str | None]:
        """Return what the model streams, and our URL; None if it streams nothing that we can serve."""
        stream = parse_replicate_stream(replicate_url or "")
        known = KnownStream(stream.kind if stream else StreamKind.NONE, self.base_url)
        if stream is None:
            return known, None
        if stream.kind is StreamKind.FILES or not self._is_relayed(stream):
            return known, build_stored_stream_url(known, job.tenant, job.id, self.key)
        return known, build_live_stream_url(self.base_url, stream.path, job.tenant, job.id, self.key)

    def find_unknown_host(self, replicate_url: str) -> str | None:
        """Return the host of a stream that is not relayed, as it has another host or form; None if it is.

        A stream of files has no need to be.
        """
        stream = parse_replicate_stream(replicate_url)
        if stream is not None and (stream.kind is StreamKind.FILES or self._is_relayed(stream)):
            return None
        # The rest of the URL is a secret.
        return replicate_url.partition("://")[2].partition("/")[0]

    def _is_relayed(self, stream: ReplicateStream) -> bool:
        return stream.base_url == self.replicate_base_url


type StreamUrlFinder = Callable[[Submission, str, str], str | None]
"""Returns the stream URL that a new job of that tenant and ID has from the start, None if it has none."""
