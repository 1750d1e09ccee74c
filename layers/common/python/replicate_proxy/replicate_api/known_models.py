"""What Replicate has said about models, for functions that have no token to ask it.

The dispatcher and the catalog record what they learn from Replicate's responses in the control table; ingest
reads it. Three facts are kept:

* `VERSION#<id>`: the `model` that a version belongs to, for 90 days. It never changes.
* `STREAM#<kind>/<name>`: what the predictions of a model, version or deployment stream, for 30 days.
* `MISSING#<kind>/<name>`: a model, version or deployment that Replicate does not know, for a minute, since it
  may be created at any time.

A tenant's own account sees other models than the shared one: what it says is recorded for it alone, under
qualified keys.

Nothing depends on a record: what is not known is left to Replicate. So while the table cannot be reached,
what was read last counts, and a write that fails is not repeated.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from replicate_proxy.contracts.stream_urls import KnownStream, StreamKind
from replicate_proxy.errors import ApiError, RetryableError
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account, Submission, SubmissionKind
from replicate_proxy.observability import logger
from replicate_proxy.timed_cache import TimedCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.aws.control_table import ControlTable, Record
    from replicate_proxy.ports import Clock
    from replicate_proxy.replicate_api.errors import RejectedError
    from replicate_proxy.replicate_api.models import UpstreamPrediction


_VERSION_ID = re.compile(r"[0-9a-f]{64}")
_VERSION_SECONDS = 90 * 24 * 3600
_STREAM_SECONDS = 30 * 24 * 3600
_MISSING_SECONDS = 60
_MAX_CACHED = 1000
# A busy model costs one read in this time for each execution environment, not one for each request.
_CACHE_SECONDS = 3.0
# Replicate's words for an unknown version (replicate/getting-started-nextjs#125).
_INVALID_VERSION_TITLE = "Invalid version or not permitted"


class NothingKnown:
    """The same interface, for tests and tools without a control table: nothing is known or recorded."""

    def find_model(
        self,
        version_id: str,  # noqa: ARG002 - the interface
        account: Account = SHARED_ACCOUNT,  # noqa: ARG002
    ) -> str | None:
        return None

    def check(self, submission: Submission, account: Account = SHARED_ACCOUNT) -> None:
        pass

    def record_accepted(
        self, submission: Submission, prediction: UpstreamPrediction, account: Account = SHARED_ACCOUNT
    ) -> None:
        pass

    def record_rejected(
        self, submission: Submission, error: RejectedError, account: Account = SHARED_ACCOUNT
    ) -> None:
        pass

    def record_version(self, version_id: str, model: str, account: Account = SHARED_ACCOUNT) -> None:
        pass

    def find_stream(
        self,
        submission: Submission,  # noqa: ARG002 - the interface
        account: Account = SHARED_ACCOUNT,  # noqa: ARG002
    ) -> KnownStream | None:
        return None

    def record_stream(
        self, submission: Submission, stream: KnownStream, account: Account = SHARED_ACCOUNT
    ) -> None:
        pass

    def record_missing(self, target: str, account: Account = SHARED_ACCOUNT) -> None:
        pass


class KnownModels:
    """Reads and records facts, with a small cache in the memory of the execution environment."""

    def __init__(
        self, table: ControlTable, clock: Clock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._table = table
        self._clock = clock
        self._cache: TimedCache[Record] = TimedCache(_MAX_CACHED, monotonic=monotonic)

    def find_model(self, version_id: str, account: Account = SHARED_ACCOUNT) -> str | None:
        """Return `owner/name` of the model that the version belongs to, None if that is not known."""
        if not _VERSION_ID.fullmatch(version_id):
            return None
        model = self._read(account.qualify(f"VERSION#{version_id}"), is_final="model").get("model")
        return str(model) if model else None

    def check(self, submission: Submission, account: Account = SHARED_ACCOUNT) -> None:
        """Raise the ApiError that Replicate answers if it does not know the target of the submission."""
        if not self._is_missing(submission, account):
            return
        if submission.version and submission.version_id != "hidden":
            detail = "The specified version does not exist (or perhaps you don't have permission to use it?)"
            raise ApiError(422, _INVALID_VERSION_TITLE, detail)
        raise ApiError(404, "Not found", "The requested resource could not be found.")

    def record_accepted(
        self, submission: Submission, prediction: UpstreamPrediction, account: Account = SHARED_ACCOUNT
    ) -> None:
        """Record what the acceptance of a create request says about the version."""
        if submission.version_id == prediction.version:
            self.record_version(prediction.version, prediction.model, account)

    def record_rejected(
        self, submission: Submission, error: RejectedError, account: Account = SHARED_ACCOUNT
    ) -> None:
        """Record that the target does not exist, if that is why a create request was rejected."""
        if is_target_missing(error):
            self.record_missing(name_target(submission), account)

    def record_version(self, version_id: str, model: str, account: Account = SHARED_ACCOUNT) -> None:
        """Record that the version belongs to the model, `owner/name`."""
        key = account.qualify(f"VERSION#{version_id}")
        if not _VERSION_ID.fullmatch(version_id) or "/" not in model or self._cache.find(key):
            return
        self._write(key, {"model": model, "expires_at": self._now() + _VERSION_SECONDS})

    def find_stream(self, submission: Submission, account: Account = SHARED_ACCOUNT) -> KnownStream | None:
        """Return what predictions of that target stream, None if that is not known."""
        record = self._read(account.qualify(f"STREAM#{name_target(submission)}"))
        if not record.get("stream_kind"):
            return None
        return KnownStream(StreamKind(str(record["stream_kind"])), str(record["base_url"]))

    def record_stream(
        self, submission: Submission, stream: KnownStream, account: Account = SHARED_ACCOUNT
    ) -> None:
        """Record what Replicate's response to a create request says about the streams of the target."""
        key = account.qualify(f"STREAM#{name_target(submission)}")
        known = self._cache.find(key) or {}
        if (known.get("stream_kind"), known.get("base_url")) == (stream.kind.value, stream.base_url):
            return
        values = {"stream_kind": stream.kind.value, "base_url": stream.base_url}
        self._write(key, {**values, "expires_at": self._now() + _STREAM_SECONDS})

    def record_missing(self, target: str, account: Account = SHARED_ACCOUNT) -> None:
        """Record that Replicate has no such `models/<name>`, `deployments/<name>` or `versions/<id>`."""
        missing_until = self._now() + _MISSING_SECONDS
        values: dict[str, str | int] = {"missing_until": missing_until, "expires_at": missing_until}
        self._write(account.qualify(f"MISSING#{target}"), values)

    def _is_missing(self, submission: Submission, account: Account) -> bool:
        record = self._read(account.qualify(f"MISSING#{name_target(submission)}"))
        return int(record.get("missing_until", 0)) > self._now()

    def _read(self, key: str, *, is_final: str = "") -> Record:
        """Return the record, empty if there is none; one with the attribute `is_final` never changes."""
        cached = self._cache.find(key)
        if cached is not None and cached.get(is_final):
            return cached
        fresh = self._cache.find_fresh(key)
        if fresh is not None:
            return fresh
        try:
            record = self._table.read(key)
        except RetryableError as error:
            logger.warning("known models not read", reason=str(error))
            return cached or {}
        self._cache.put(key, record, _CACHE_SECONDS)
        return record

    def _write(self, key: str, values: dict[str, str | int]) -> None:
        try:
            self._table.set_attributes(key, values)
        except RetryableError as error:
            logger.warning("known models not recorded", reason=str(error))
            return
        self._cache.put(key, values, _CACHE_SECONDS)

    def _now(self) -> int:
        return int(self._clock.now().timestamp())


def is_target_missing(error: RejectedError) -> bool:
    """Return whether a create request was rejected because Replicate does not know its target."""
    return error.status == HTTPStatus.NOT_FOUND or error.title == _INVALID_VERSION_TITLE


def name_target(submission: Submission) -> str:
    """Return the name under which it is recorded that the target does not exist."""
    if submission.kind is SubmissionKind.VERSION and submission.version_id != "hidden":
        return f"versions/{submission.version_id}"
    kind = "deployments" if submission.kind is SubmissionKind.DEPLOYMENT else "models"
    return f"{kind}/{submission.model_name}"
