"""One job read through DAX: an answer in time or none at all.

DAX keeps items for its TTL and does not hear of our writes, which go straight to the table (DAX
documentation, "DAX and DynamoDB consistency models"); services/cached_jobs.py says what may be believed.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import from_item, to_item
from replicate_proxy.aws.job_records import job_from_record, job_key
from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.model import Job


_WORKERS = 2  # one may hang in a connection that died while the function was frozen


class DaxJobCache:
    """The JobCache port. `connect` makes the client, beside the first read, which does not wait for it.

    A read may take `patience` seconds; after one that failed, nobody tries for `pause` seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        table: str,
        *,
        timeout_seconds: float = 0.2,
        retry_after_seconds: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._table = table
        self._patience = timeout_seconds
        self._pause = retry_after_seconds
        self._monotonic = monotonic
        self._away_until = float("-inf")
        self._client: Any = None
        self._connecting = threading.Lock()
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="dax")

    def get(self, tenant: str, job_id: str) -> Job | None:
        """The job as cached, None where there is none; raises RetryableError where DAX cannot say."""
        if self._monotonic() < self._away_until:
            raise RetryableError("DAX failed a moment ago")
        reading = self._workers.submit(self._read, tenant, job_id)
        try:
            return reading.result(timeout=self._patience)
        except Exception as error:
            # Whatever it is, DynamoDB knows the answer: a cache must never be why a read fails.
            reading.cancel()
            self._away_until = self._monotonic() + self._pause
            raise RetryableError(f"DAX: {type(error).__name__}") from error

    def _read(self, tenant: str, job_id: str) -> Job | None:
        with self._connecting:
            if self._client is None:
                self._client = self._connect()
        reply = self._client.get_item(TableName=self._table, Key=to_item(job_key(tenant, job_id)))
        return job_from_record(from_item(reply["Item"])) if reply.get("Item") else None
