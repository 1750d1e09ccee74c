"""Jobs in DynamoDB, with conditional writes only."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.due_index import list_due
from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    from_item,
    get_record,
    is_own_write,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.aws.job_records import (
    DUE_PARTITIONS,
    is_deletion,
    job_from_record,
    job_key,
    prediction_owner_key,
    record_from_job,
)
from replicate_proxy.errors import ConflictError
from replicate_proxy.ports import DueJob, JobPage, PredictionClaim, PredictionOwner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

    from replicate_proxy.jobs.model import Job


# A claim must last longer than Replicate lists a prediction with its data, which is an hour.
_PREDICTION_CLAIM_SECONDS = 2 * 24 * 3600


class DynamoJobStore:
    """The JobStore port on the jobs table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def create(self, job: Job) -> None:
        with translate_dynamodb_errors("create job"):
            self._client.put_item(
                TableName=self._table,
                Item=to_item(record_from_job(replace(job, revision=1))),
                ConditionExpression="attribute_not_exists(pk)",
            )

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None:
        key = job_key(tenant, job_id)
        record = get_record(self._client, self._table, key, "read job", consistent=consistent)
        return job_from_record(record) if record and not is_deletion(record) else None

    def is_deleted(self, tenant: str, job_id: str) -> bool:
        return is_deletion(get_record(self._client, self._table, job_key(tenant, job_id), "read job"))

    def get_many(self, tenant: str, job_ids: Sequence[str], *, consistent: bool = False) -> dict[str, Job]:
        """Return the jobs that exist, by ID."""
        keys = [to_item(job_key(tenant, job_id)) for job_id in job_ids]
        records = batch_get_records(self._client, self._table, keys, "read jobs", consistent=consistent)
        return {record["id"]: job_from_record(record) for record in records if not is_deletion(record)}

    def save(self, job: Job) -> Job:
        saved, write_id = replace(job, revision=job.revision + 1), token_hex(8)
        try:
            with translate_dynamodb_errors("save job"):
                self._client.put_item(
                    TableName=self._table,
                    Item=to_item({**record_from_job(saved), "write_id": write_id}),
                    ConditionExpression="revision = :revision",
                    ExpressionAttributeValues={":revision": to_value(job.revision)},
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except ConflictError as conflict:
            # The SDK repeats a request whose response was lost: the stored job may be this very write.
            if not is_own_write(conflict, write_id):
                raise
        return saved

    def list_jobs(self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int) -> JobPage:
        """Return a page of jobs, read by the IDs in the index.

        The index holds keys only, so that saving a job does not copy it to the index.
        """
        # BETWEEN includes `before_id`: read one more for that, and one to know whether a page follows.
        ids = self._list_ids(tenant, min_id or "0", before_id or "~", limit + 2, newest_first=True)
        ids = [job_id for job_id in ids if job_id != before_id]
        next_before_id = ids[limit - 1] if len(ids) > limit else None
        return JobPage(self._get_in_order(tenant, ids[:limit]), next_before_id)

    def list_newer_jobs(self, tenant: str, *, after_id: str, before_id: str | None, limit: int) -> JobPage:
        # BETWEEN includes both ends: read two more for that, and one to know whether a page precedes.
        ids = self._list_ids(tenant, after_id, before_id or "~", limit + 3, newest_first=False)
        ids = [job_id for job_id in ids if job_id not in {after_id, before_id}]
        listed = ids[:limit][::-1]
        return JobPage(
            self._get_in_order(tenant, listed),
            next_before_id=listed[-1] if listed else None,
            previous_after_id=listed[0] if len(ids) > limit else None,
        )

    def _list_ids(self, tenant: str, low: str, high: str, limit: int, *, newest_first: bool) -> list[str]:
        if low > high:
            return []
        with translate_dynamodb_errors("list jobs"):
            response = self._client.query(
                TableName=self._table,
                IndexName="by_tenant",
                KeyConditionExpression="tenant = :tenant AND id BETWEEN :low AND :high",
                ExpressionAttributeValues={
                    ":tenant": to_value(tenant),
                    ":low": to_value(low),
                    ":high": to_value(high),
                },
                ScanIndexForward=not newest_first,
                Limit=limit,
            )
        return [from_item(item)["id"] for item in response["Items"]]

    def _get_in_order(self, tenant: str, job_ids: Sequence[str]) -> tuple[Job, ...]:
        """Return the jobs in the order of their IDs, without those that have expired meanwhile."""
        jobs_by_id = self.get_many(tenant, job_ids)
        return tuple(jobs_by_id[job_id] for job_id in job_ids if job_id in jobs_by_id)

    def list_due_jobs(self, *, before: datetime, limit: int, requires_all: bool = False) -> Sequence[DueJob]:
        """Return the longest overdue jobs of all shards that can be read.

        Raises RetryableError if none can, or if one cannot and all are required.
        """
        return list_due(
            self._client, self._table, DUE_PARTITIONS, before=before, limit=limit, requires_all=requires_all
        )

    def claim_prediction(self, replicate_id: str, tenant: str, job_id: str, *, now: datetime) -> bool:
        record = _build_owner_record(
            replicate_id, PredictionOwner(tenant, job_id, PredictionClaim.CERTAIN), now
        )
        try:
            with translate_dynamodb_errors("claim prediction"):
                self._client.put_item(
                    TableName=self._table,
                    Item=to_item(record),
                    ConditionExpression="attribute_not_exists(pk) OR (job_id = :job AND tenant = :tenant)",
                    ExpressionAttributeValues={":job": to_value(job_id), ":tenant": to_value(tenant)},
                )
        except ConflictError:
            return False
        return True

    def adopt_prediction(self, job: Job, *, now: datetime) -> Job:
        saved = replace(job, revision=job.revision + 1)
        owner = PredictionOwner(job.tenant, job.id, PredictionClaim.ADOPTED)
        claim: TransactWriteItemTypeDef = {
            "Put": {
                "TableName": self._table,
                "Item": to_item(_build_owner_record(job.account.qualify(job.replicate_id or ""), owner, now)),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }
        with translate_dynamodb_errors("adopt prediction"):
            self._client.transact_write_items(TransactItems=[claim, self._build_save(saved)])
        return saved

    def transfer_prediction(
        self, replicate_id: str, owner: PredictionOwner, job: Job, *, changed: Sequence[Job], now: datetime
    ) -> Sequence[Job]:
        record = _build_owner_record(
            replicate_id, PredictionOwner(job.tenant, job.id, PredictionClaim.CERTAIN), now
        )
        claim: TransactWriteItemTypeDef = {
            "Put": {
                "TableName": self._table,
                "Item": to_item(record),
                "ConditionExpression": "job_id = :job AND tenant = :tenant AND claim = :claim",
                "ExpressionAttributeValues": {
                    ":job": to_value(owner.job_id),
                    ":tenant": to_value(owner.tenant),
                    ":claim": to_value(owner.claim.value),
                },
            }
        }
        saved = [replace(one, revision=one.revision + 1) for one in changed]
        with translate_dynamodb_errors("transfer prediction"):
            self._client.transact_write_items(TransactItems=[claim, *map(self._build_save, saved)])
        return saved

    def _build_save(self, saved: Job) -> TransactWriteItemTypeDef:
        """Return the write of a job whose revision was increased, if the stored one has that before it."""
        return {
            "Put": {
                "TableName": self._table,
                "Item": to_item(record_from_job(saved)),
                "ConditionExpression": "revision = :revision",
                "ExpressionAttributeValues": {":revision": to_value(saved.revision - 1)},
            }
        }

    def get_prediction_owner(self, replicate_id: str) -> PredictionOwner | None:
        key = prediction_owner_key(replicate_id)
        record = get_record(self._client, self._table, key, "read owner of prediction")
        if not record:
            return None
        return PredictionOwner(record["tenant"], record["job_id"], PredictionClaim(record["claim"]))

    def dispute_prediction(self, replicate_id: str, tenant: str, job_id: str, *, now: datetime) -> None:
        owner = PredictionOwner(tenant, job_id, PredictionClaim.DISPUTED)
        with suppress(ConflictError), translate_dynamodb_errors("dispute prediction"):
            self._client.put_item(
                TableName=self._table,
                Item=to_item(_build_owner_record(replicate_id, owner, now)),
                ConditionExpression="attribute_not_exists(pk)",
            )


def _build_owner_record(replicate_id: str, owner: PredictionOwner, now: datetime) -> dict[str, Any]:
    return {
        **prediction_owner_key(replicate_id),
        "tenant": owner.tenant,
        "job_id": owner.job_id,
        "claim": owner.claim.value,
        "expires_at": int(now.timestamp()) + _PREDICTION_CLAIM_SECONDS,
    }
