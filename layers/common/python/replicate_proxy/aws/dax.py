"""Reads of jobs through DAX, with a timeout.

DAX returns items until their TTL ends, even if they were changed in the table meanwhile, because writes do
not go through it (DAX developer guide, "DAX and DynamoDB consistency models"). `CachedJobReader` in
services/query.py decides which items are current enough.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from replicate_proxy.aws.dynamodb import from_item, to_item
from replicate_proxy.aws.job_records import is_deletion, job_from_record, job_key
from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.jobs.model import Job


# A connection that broke while the function was frozen can block one thread.
_THREADS = 2


class DaxJobCache:
    """The JobCache port.

    `connect` returns a DAX client, which has DynamoDB's methods; it is called on the thread of the first
    read. A read that takes longer than `timeout_seconds` fails. After a failure, reads fail at once for
    `retry_after_seconds`.
    """

    def __init__(
        self,
        connect: Callable[[], DynamoDBClient],
        table: str,
        *,
        timeout_seconds: float = 0.2,
        retry_after_seconds: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._table = table
        self._timeout_seconds = timeout_seconds
        self._retry_after_seconds = retry_after_seconds
        self._monotonic = monotonic
        self._unavailable_until = float("-inf")
        self._client: DynamoDBClient | None = None
        self._connect_lock = threading.Lock()
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="dax")

    def get(self, tenant: str, job_id: str) -> Job | None:
        if self._monotonic() < self._unavailable_until:
            raise RetryableError("DAX failed a moment ago")
        read = self._executor.submit(self._read, tenant, job_id)
        try:
            return read.result(timeout=self._timeout_seconds)
        except Exception as error:
            # Any error: the caller reads from DynamoDB instead, so that the cache cannot make a request fail.
            read.cancel()
            self._unavailable_until = self._monotonic() + self._retry_after_seconds
            raise RetryableError(f"cannot read job from DAX: {type(error).__name__}") from error

    def _read(self, tenant: str, job_id: str) -> Job | None:
        with self._connect_lock:
            if self._client is None:
                self._client = self._connect()
        response = self._client.get_item(TableName=self._table, Key=to_item(job_key(tenant, job_id)))
        record = from_item(response.get("Item") or {})
        return job_from_record(record) if record and not is_deletion(record) else None
