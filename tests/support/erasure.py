"""Two tenants with all that may be stored about a tenant, in memory, and what erases one of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.accounts.directory import CurrentAccount, RetiredAccount
from replicate_proxy.audit.actor import acting_as
from replicate_proxy.audit.log import StoredAuditLog
from replicate_proxy.audit.model import Actor
from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.aws import tenant_rows
from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.aws.budget_store import DynamoBudgetStore
from replicate_proxy.aws.console_store import ControlTableLinks
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore, DynamoSigningSecretStore
from replicate_proxy.aws.erasure_store import DynamoErasureStore
from replicate_proxy.aws.file_objects import S3FileObjects
from replicate_proxy.aws.file_store import DynamoFileStore
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.pause_store import DynamoPauseStore
from replicate_proxy.aws.progress_claims import ControlTableProgressClaims
from replicate_proxy.aws.secrets import SsmParameter
from replicate_proxy.aws.tenant_limit_store import DynamoTenantLimitStore
from replicate_proxy.aws.tenant_objects import S3TenantObjects
from replicate_proxy.aws.tenant_rows import DynamoTenantRows
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.aws.wait_limiter import ControlTableWaitLimiter
from replicate_proxy.bootstrap.erasure import build_prefixes
from replicate_proxy.budgets.model import BudgetLimits, BudgetOwner
from replicate_proxy.concurrency.model import Limit, WaitingJob, name_tenant_limit
from replicate_proxy.console.access import SignInLink
from replicate_proxy.files.model import StoredFile
from replicate_proxy.files.multipart import MultipartUpload
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import Account, JobStatus
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.operations.accounts import AccountService
from replicate_proxy.operations.erasure.access import StoredTenantAccess
from replicate_proxy.operations.erasure.predictions import StoredTenantPredictions
from replicate_proxy.operations.erasure.service import ErasureService
from replicate_proxy.operations.erasure.settings import StoredTenantSettings
from replicate_proxy.operations.erasure.worker import ErasureWorker
from replicate_proxy.operations.usage_plans import UsagePlanKeys
from replicate_proxy.pauses.pause import Pause, PausedActivity, PauseMode
from replicate_proxy.replicate_api.rate_limit import RateLimit, TenantRateLimiter
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.services.large_batches import LargeBatchService
from tests.support.access import STAGE, FakeGateway, make_key
from tests.support.admin_fakes import FakeWorkerStarter
from tests.support.audit import NoAuditLog, build_audit_store
from tests.support.builders import make_job, make_large_batch
from tests.support.clock import NOW
from tests.support.deletion import KEY_SECRET, CallCounter, StoredJobs
from tests.support.fakes import FakeCommandQueue
from tests.support.webhook_builders import make_endpoint
from tools.simulation.resources import BUCKET, Table

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.operations.erasure.model import Erasure

OPERATOR = Actor(key_id="op")
# What stays: sums of usage, the report itself, and records that no tenant owns.
_KEPT_ROWS = ("USAGE#", "ERASURES", "LEASE#")


class StoredTenants(StoredJobs):
    """Rows, objects and parameters of tenants, as the functions leave them."""

    def __init__(self) -> None:
        super().__init__()
        dynamodb, s3, clock = self._dynamodb, self._s3, self.clock
        self.gateway = FakeGateway()
        self.commands = FakeCommandQueue()
        self.starter = FakeWorkerStarter()
        self.keys = DynamoKeyStore(dynamodb, Table.ACCESS)
        self.tenants = DynamoTenantStore(dynamodb, Table.ACCESS)
        self.erasures = DynamoErasureStore(dynamodb, Table.JOBS)
        self.large_batches = DynamoLargeBatchStore(dynamodb, Table.JOBS)
        self.audit_store = build_audit_store()
        self.audit = StoredAuditLog(
            self.audit_store, find_key_name=lambda _: "", clock=clock, sleep=lambda _: None
        )
        self.control = ControlTable(dynamodb, Table.CONTROL)
        self.accounts = DynamoAccountStore(self.control)
        self.limits = DynamoTenantLimitStore(self.control)
        self.pauses = [DynamoPauseStore(self.control, activity) for activity in PausedActivity]
        self.files = DynamoFileStore(dynamodb, Table.ACCESS)
        self.file_objects = S3FileObjects(s3, BUCKET)
        self.updater = JobUpdater(self.jobs, clock, JobTimeouts())
        self.usage_plan_keys = UsagePlanKeys(self.gateway, default_limits=UsageLimits(10, 20))
        access = StoredTenantAccess(
            tenants=self.tenants,
            keys=self.keys,
            usage_plan_keys=self.usage_plan_keys,
            gateway=self.gateway,
            clock=clock,
        )
        self.service = self._build_service(access)
        self.worker = self._build_worker(access)

    def _build_service(self, access: StoredTenantAccess) -> ErasureService:
        return ErasureService(
            store=self.erasures,
            tenants=self.tenants,
            keys=self.keys,
            jobs=self.jobs,
            access=access,
            starter=self.starter,
            audit=self.audit,
            clock=self.clock,
        )

    def _build_worker(self, access: StoredTenantAccess) -> ErasureWorker:
        return ErasureWorker(
            store=self.erasures,
            access=access,
            predictions=self._build_predictions(),
            settings=StoredTenantSettings(
                pauses=self.pauses,
                limits=self.limits,
                slots=self.slots,
                accounts=self._build_account_service(),
                files=self.files,
                uploads=self.file_objects,
            ),
            places=self._build_places(),
            lease=Lease(self.control, "erasures", self.clock),
            audit=self.audit,
            clock=self.clock,
        )

    def _build_predictions(self) -> StoredTenantPredictions:
        unused: Any = None
        batches = LargeBatchService(
            store=self.large_batches,
            idempotency=unused,
            find_file=unused,
            factory=unused,
            starter=None,
            clock=self.clock,
        )
        return StoredTenantPredictions(
            jobs=self.jobs,
            batches=self.batches,
            cancel=JobCanceler(self.updater, self.commands).request_cancel,
            cancel_batch=batches.cancel,
            deleter=self.deleter,
        )

    def _build_places(self) -> list[S3TenantObjects | DynamoTenantRows]:
        dynamodb = self._dynamodb
        prefixes = build_prefixes(lambda: KEY_SECRET)
        return [
            *(S3TenantObjects(self._s3, BUCKET, kind, prefix) for kind, prefix in prefixes.items()),
            DynamoTenantRows(dynamodb, Table.DELIVERIES, tenant_rows.classify_delivery_row),
            DynamoTenantRows(dynamodb, Table.JOBS, tenant_rows.classify_job_row),
            DynamoTenantRows(dynamodb, Table.USAGE, tenant_rows.classify_usage_row),
            DynamoTenantRows(dynamodb, Table.ACCESS, tenant_rows.classify_access_row),
            DynamoTenantRows(dynamodb, Table.CONTROL, tenant_rows.classify_control_row),
        ]

    def _build_account_service(self) -> AccountService:
        ssm: Any = self.aws.client("ssm")
        unused: Any = None
        return AccountService(
            store=self.accounts,
            connect=unused,
            connect_stored=unused,
            get_token=lambda account: SsmParameter(ssm, f"/tokens/{account.tenant}/{account.name}"),
            get_webhook_secret=lambda account: SsmParameter(ssm, f"/secrets/{account.tenant}/{account.name}"),
            clock=self.clock,
            audit=NoAuditLog(),
        )

    def add_tenant(self, tenant: str, *, event_count: int = 3) -> None:
        """Store at least one of everything that a tenant may have; its predictions have ended."""
        self.event_count = event_count
        self.add(tenant)
        self.add_batch(tenant)
        self._add_access(tenant)
        self._add_files(tenant)
        self._add_large_batch(tenant)
        self._add_webhooks(tenant)
        self._add_control(tenant)
        budgets = DynamoBudgetStore(self._dynamodb, Table.USAGE)
        for key_id in (None, f"key-{tenant}"):
            budgets.put_limits(BudgetOwner(tenant, key_id), BudgetLimits(day_micro_usd=5))
        # A claim, and a key of idempotency, that no job has kept.
        self.jobs.claim_prediction(f"stray-{tenant}", tenant, generate_id(NOW), now=NOW)

    def add_running(self, tenant: str, status: JobStatus = JobStatus.PROCESSING, **fields: Any) -> Job:
        job = make_job(status, tenant=tenant, revision=0, **fields)
        self.jobs.create(job)
        return self.jobs.get(tenant, job.id) or job

    def end_job(self, job: Job) -> None:
        """Let a job end as Replicate reports it after the cancel."""
        current = self.jobs.get(job.tenant, job.id)
        assert current is not None
        ended = replace(
            make_job(JobStatus.CANCELED, tenant=job.tenant, id=job.id, replicate_id=current.replicate_id),
            revision=current.revision,
            created_at=current.created_at,
            delete_at=self.clock.now() + timedelta(days=30),
        )
        self.jobs.save(ended)

    def _add_access(self, tenant: str) -> None:
        usage = self.usage_plan_keys.assign(f"{tenant}-tokens", None, STAGE)
        self.tenants.save(Tenant(tenant, display_name=f"{tenant} Ltd", usage_key_id=usage.usage_key_id))
        for number in range(2):
            key_usage = self.usage_plan_keys.assign(f"{tenant}-{number}", None, STAGE)
            key, _ = make_key(tenant=tenant, usage_key_id=key_usage.usage_key_id)
            self.keys.create(key)

    def _add_files(self, tenant: str) -> None:
        file = StoredFile(
            id=generate_id(NOW),
            tenant=tenant,
            name="a.txt",
            content_type="text/plain",
            created_at=NOW,
            expires_at=NOW + timedelta(days=1),
        )
        self._s3.put_object(Bucket=BUCKET, Key=file.object_key, Body=b"content")
        self.files.save(replace(file, size_bytes=7))
        pending = replace(file, id=generate_id(NOW))
        upload = self.file_objects.start_multipart_upload(pending)
        self.files.save(replace(pending, multipart=MultipartUpload(upload, 9, 9)))

    def _add_large_batch(self, tenant: str) -> None:
        batch = make_large_batch(tenant)
        self.large_batches.create(batch)
        self._s3.put_object(Bucket=BUCKET, Key=f"batches/{tenant}/{batch.id}/lines", Body=b"content")
        self.aws.client("dynamodb").put_item(
            TableName=Table.USAGE,
            Item={"pk": {"S": f"BATCH#{tenant}#{batch.id}"}, "sk": {"S": "COUNTS"}, "ended": {"N": "1"}},
        )

    def _add_webhooks(self, tenant: str) -> None:
        DynamoEndpointStore(self._dynamodb, Table.DELIVERIES).create(
            make_endpoint(tenant=tenant, id=generate_id(NOW))
        )
        DynamoSigningSecretStore(self._dynamodb, Table.DELIVERIES).get_or_create(tenant, now=NOW)
        self._dynamodb.put_item(
            TableName=Table.DELIVERIES,
            Item={"pk": {"S": f"TENANT#{tenant}"}, "sk": {"S": "RECEIVER#r"}, "slots": {"M": {}}},
        )

    def _add_control(self, tenant: str) -> None:
        for pauses in self.pauses:
            pauses.put(tenant, Pause(PauseMode.HOLD, since="now"))
        self.limits.put(tenant, 3)
        limit = Limit(name_tenant_limit(tenant), 3)
        self.slots.acquire(limit, f"{tenant}/job", 1)
        self.slots.join_line(limit.name, WaitingJob(tenant, generate_id(NOW), "", None))
        ControlTableProgressClaims(self.control, self.clock).claim(tenant, generate_id(NOW), until=NOW)
        link = SignInLink(key_id="op", proof="p", tenant=tenant, valid_until=NOW + timedelta(minutes=15))
        ControlTableLinks(self.control).create(f"hash-of-{tenant}", link)
        TenantRateLimiter(self.control, "batches", RateLimit(60, 10), self.clock).acquire_slot(tenant)
        with ControlTableWaitLimiter(self.control, self.clock, 5, 5).hold_place(tenant):
            pass
        account = Account(tenant, f"account-of-{tenant}")
        self.control.set_attributes(account.qualify("BREAKER#replicate"), {"failures": 1})
        since = "2026-01-01T00:00:00.000Z"
        self.accounts.change(
            tenant,
            lambda accounts: replace(
                accounts,
                current=CurrentAccount(account.name, since, "abcd"),
                retired=(RetiredAccount(f"old-{account.name}", since),),
            ),
        )
        for name in (account.name, f"old-{account.name}"):
            self.aws.ssm.put(f"/tokens/{tenant}/{name}", "token")
            self.aws.ssm.put(f"/secrets/{tenant}/{name}", "secret")

    def start(self, tenant: str = "acme") -> Erasure:
        with acting_as(OPERATOR):
            return self.service.start(tenant, tenant, STAGE)[0]

    def work(self, gate: CallCounter | None = None) -> None:
        """Run the worker once; `gate` sees its calls."""
        if gate is not None:
            self.aws.gate = gate
        now = self.clock.now()
        try:
            self.worker.run(now + timedelta(seconds=20), lease_until=now + timedelta(seconds=29))
        finally:
            self.aws.gate = self.perform_alone

    def work_until_completed(self, tenant: str = "acme") -> Erasure:
        """Run worker and sweep, minute by minute at first, until the erasure is completed."""
        for minutes in (*[1] * 20, *[30] * 60):
            self.clock.advance(minutes=minutes)
            self.run_sweep()
            self.work()
            erasure = self.service.get(tenant)
            if erasure.completed_at is not None:
                # A crash may have left the mark of the tenant.
                self.work()
                return erasure
        raise AssertionError(f"the erasure does not end: {erasure}")

    def list_all(self, tenant: str) -> set[str]:
        """Return all that is stored about a tenant, by the names of its rows, objects and parameters."""
        rows = {
            f"{table}: {_select_part(from_item(stored.item), tenant)}"
            for table, contents in self.aws.dynamodb.tables.items()
            if table != Table.AUDIT
            for stored in contents.items.values()
            if not str(stored.item["pk"]["S"]).startswith(_KEPT_ROWS)
        }
        prefixes = tuple(build(tenant) for build in build_prefixes(lambda: KEY_SECRET).values())
        objects = {key for key in self.list_objects() if key.startswith(prefixes)}
        uploads = {f"upload of {upload.key}" for upload in self.aws.s3._uploads.values()}
        parameters = set(self.aws.ssm._parameters)
        named = (*rows, *uploads, *parameters, *self.gateway.limits_by_label)
        return {name for name in named if tenant in name} | objects


def _select_part(record: dict[str, Any], tenant: str) -> dict[str, Any]:
    """Return the record, of one that tenants share the part that is this tenant's."""
    if "document" in record:
        entry = json.loads(record["document"]).get(tenant)
        return {"pk": record["pk"], tenant: entry} if entry is not None else {}
    if "line_names" in record:
        return {"pk": record["pk"], "line_names": record["line_names"] & {name_tenant_limit(tenant)}}
    return record
