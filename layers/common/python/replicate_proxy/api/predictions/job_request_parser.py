"""Parse create requests into validated `JobRequest`s, before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.api.http import Request
from replicate_proxy.api.predictions.allowed_models import check_allowed_models
from replicate_proxy.api.predictions.bodies import (
    CreatePredictionBody,
    CreatePredictionByVersionBody,
    is_name,
)
from replicate_proxy.api.predictions.headers import (
    parse_cancel_after,
    parse_correlation_id,
    parse_idempotency_key,
    parse_image_options,
    parse_metadata_header,
    parse_retention_header,
)
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Principal
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.errors import ApiError, field_error, field_errors
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account, Submission, SubmissionKind
from replicate_proxy.model_entries.directory import NoEntries
from replicate_proxy.model_entries.entry import parse_target
from replicate_proxy.net.addresses import AddressPolicy, parse_url
from replicate_proxy.net.errors import ForbiddenUrlError
from replicate_proxy.replicate_api.known_models import NothingKnown
from replicate_proxy.services.ingest import JobRequest

if TYPE_CHECKING:
    from replicate_proxy.api.predictions.batch_bodies import BatchEntryBody, CreateBatchBody
    from replicate_proxy.errors import InvalidField
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.model_entries.directory import EntryDirectory
    from replicate_proxy.services.large_batches import LargeBatchRequest


class ModelDirectory(Protocol):
    """What is known about models without asking Replicate: `replicate_api.known_models.KnownModels`."""

    def find_model(self, version_id: str, account: Account) -> str | None:
        """Return `owner/name` of the model that the version belongs to, None if that is not known."""
        ...

    def check(self, submission: Submission, account: Account) -> None:
        """Raise the ApiError that Replicate answers if it does not know the target of the submission."""
        ...


type InputCheck = Callable[[Mapping[str, Any], Principal, str], None]
"""Raises an ApiError for an input that the caller may not send; the last argument is our base URL."""


@dataclass(frozen=True, slots=True)
class ParserSettings:
    """`webhook_addresses` says where webhooks may go to, `max_retention_days` how long jobs may be kept."""

    max_body_bytes: int = 5_000_000
    webhook_addresses: AddressPolicy = field(default_factory=AddressPolicy)
    max_retention_days: int = 30


class JobRequestParser:
    """Validates create requests completely. Every error is an ApiError that names the field.

    `check_pause` raises a 503 ApiError if creates of a tenant are refused at present. `find_account` returns
    the account of a tenant, which may know other models, and `find_tenant` its settings.
    """

    def __init__(
        self,
        settings: ParserSettings,
        check_input: InputCheck,
        models: ModelDirectory | None = None,
        entries: EntryDirectory | None = None,
        check_pause: Callable[[str], None] = lambda _tenant: None,
        find_account: Callable[[str], Account] = lambda _tenant: SHARED_ACCOUNT,
        find_tenant: Callable[[str], Tenant] = Tenant,
    ) -> None:
        self._settings = settings
        self._check_input = check_input
        self._models = models or NothingKnown()
        self._entries = entries or NoEntries()
        self._check_pause = check_pause
        self._find_account = find_account
        self._find_tenant = find_tenant

    def parse(self, request: Request, submission: Submission | None, principal: Principal) -> JobRequest:
        """Return the job request; `submission` None takes it from `version` in the body."""
        self._check_tenant(principal.tenant)
        body = self._parse_json(request)
        if submission is None:
            return self._parse_by_version(request, body, principal)
        job_request = self._build_job_request(
            request, parse_body(CreatePredictionBody, body), submission, principal
        )
        return replace(job_request, **self._parse_headers(request, principal.tenant))

    def parse_plain(self, request: Request, principal: Principal) -> JobRequest:
        """Return the job request of `POST /`, whose body is `{"version", "input": {"model", "prompt", …}}`.

        If `version` is missing, an `owner/name` in `input.model` names the model and is removed from the
        input.
        """
        self._check_tenant(principal.tenant)
        body = self._parse_json(request)
        model_input = body.get("input") if isinstance(body, dict) else None
        if (
            isinstance(model_input, dict)
            and not body.get("version")
            and "/" in str(model_input.get("model", ""))
        ):
            other_fields = {name: value for name, value in model_input.items() if name != "model"}
            body = {**body, "version": model_input["model"], "input": other_fields}
        return self._parse_by_version(request, body, principal)

    def parse_retry(self, job: Job, model_input: Any, principal: Principal) -> JobRequest:
        """Return the job request that creates an ended job again, under what applies to its model now.

        The job has its input, and image options, with those of its model entry at that time.
        """
        self._check_tenant(principal.tenant)
        fields = {
            "input": model_input,
            "webhook": job.webhook,
            "webhook_events_filter": list(job.webhook_events) if job.webhook_events is not None else None,
        }
        submission = parse_target(job.requested_model) if job.requested_model else job.submission
        body = parse_body(
            CreatePredictionBody, {name: value for name, value in fields.items() if value is not None}
        )
        original = _rebuild_request(job.public_base_url, job.correlation_id)
        job_request = self._build_job_request(original, body, submission, principal)
        limit = job.deadline - job.created_at if job.deadline else None
        retention = job.delete_at - job.created_at if job.delete_at and job.deletes_files else None
        return replace(
            job_request,
            image_options=job.image_options or None,
            metadata=job.metadata,
            cancel_after_seconds=round(limit.total_seconds()) if limit else None,
            retention_seconds=round(retention.total_seconds())
            if retention
            else self._choose_retention(job.tenant),
            idempotency_key=job.id,
            retried_from=job.id,
        )

    def parse_line(
        self, body: Any, principal: Principal, *, public_base_url: str, correlation_id: str
    ) -> tuple[str, JobRequest]:
        """Return the custom ID and the job request of a line of a large batch."""
        from replicate_proxy.api.predictions.batch_bodies import BatchLineBody  # noqa: PLC0415 - as below

        self._check_pause(principal.tenant)
        line = parse_body(BatchLineBody, body)
        request = _rebuild_request(public_base_url, correlation_id)
        return line.custom_id, self._build_job_request(
            request, line, _build_entry_submission(line), principal
        )

    def parse_batch(
        self, request: Request, principal: Principal
    ) -> LargeBatchRequest | tuple[list[JobRequest], str | None]:
        """Return the job requests of `POST /v1/batches`, and the idempotency key of the whole batch.

        A body that names an input file is the request of a large batch. All entries are validated before an
        error is raised, so that it counts every invalid field.
        """
        # Imported here, because creates of predictions need nothing about batches in a cold start.
        from replicate_proxy.api.predictions.batch_bodies import CreateBatchBody  # noqa: PLC0415

        body = self._parse_json(request)
        self._check_tenant(principal.tenant)
        if isinstance(body, dict) and "input_file" in body:
            return self._build_large_batch_request(request, body, principal.tenant)
        batch = parse_body(CreateBatchBody, body)
        self._check_webhook("webhook", batch.webhook)
        job_requests: list[JobRequest] = []
        invalid_fields: list[InvalidField] = []
        invalid_field_count = 0
        for index, entry in enumerate(batch.predictions):
            entry_with_webhook = _apply_batch_webhook(entry, batch)
            try:
                job_requests.append(
                    self._build_job_request(
                        request, entry_with_webhook, _build_entry_submission(entry), principal
                    )
                )
            except ApiError as error:
                if not error.invalid_fields:
                    detail = f"predictions.{index}: {error.detail}"
                    raise ApiError(error.status, error.title, detail) from error
                invalid_fields += [
                    replace(field, field=f"predictions.{index}.{field.field}")
                    for field in error.invalid_fields
                ]
                invalid_field_count += error.invalid_field_count
        if invalid_fields:
            raise field_errors(invalid_fields, total=invalid_field_count)
        headers = self._parse_headers(request, principal.tenant)
        idempotency_key = headers.pop("idempotency_key")
        return [replace(job_request, **headers) for job_request in job_requests], idempotency_key

    def _build_large_batch_request(self, request: Request, body: Any, tenant: str) -> LargeBatchRequest:
        from replicate_proxy.api.predictions.batch_bodies import CreateLargeBatchBody  # noqa: PLC0415 - as above
        from replicate_proxy.services.large_batches import LargeBatchRequest  # noqa: PLC0415

        parsed = parse_body(CreateLargeBatchBody, body)
        self._check_webhook("webhook", parsed.webhook)
        return LargeBatchRequest(
            input_file=parsed.input_file,
            webhook=parsed.webhook,
            public_base_url=request.base_url,
            correlation_id=parse_correlation_id(request),
            **self._parse_headers(request, tenant),
        )

    def _parse_json(self, request: Request) -> Any:
        return request.json(
            max_bytes=self._settings.max_body_bytes, advice="; upload large files and pass their URLs"
        )

    def _parse_by_version(self, request: Request, body: Any, principal: Principal) -> JobRequest:
        parsed = parse_body(CreatePredictionByVersionBody, body)
        submission = Submission(kind=SubmissionKind.VERSION, version=parsed.version)
        job_request = self._build_job_request(request, parsed, submission, principal)
        return replace(job_request, **self._parse_headers(request, principal.tenant))

    def _build_job_request(
        self, request: Request, body: CreatePredictionBody, submission: Submission, principal: Principal
    ) -> JobRequest:
        """Return the job request without the fields that come from headers."""
        account = self._find_account(principal.tenant)
        find_model = partial(self._models.find_model, account=account)
        check_allowed_models(submission, principal.models, find_model)
        # What is known of a version counts more than the name that the caller puts before its ID.
        known_model = find_model(submission.version_id) if submission.version else None
        model = known_model or submission.model_name or None
        entry = None if submission.kind is SubmissionKind.DEPLOYMENT else self._entries.find(model)
        if entry is not None:
            entry.check_tenant(principal.tenant)
        self._models.check(entry.build_submission(submission) if entry else submission, account)
        self._check_input(body.input, principal, request.base_url)
        webhook, events = body.webhook, body.webhook_events_filter
        self._check_webhook("webhook", webhook)
        self._check_webhook("webhook_completed", body.webhook_completed)
        if webhook is None and body.webhook_completed is not None:
            webhook, events = body.webhook_completed, ["completed"]
        return JobRequest(
            submission=submission,
            model=model,
            account=account,
            entry=entry,
            input=body.input,
            public_base_url=request.base_url,
            correlation_id=parse_correlation_id(request),
            webhook=webhook,
            webhook_events=tuple(dict.fromkeys(events)) if events is not None else None,
            is_streamed=body.stream is True,
        )

    def _parse_headers(self, request: Request, tenant: str) -> dict[str, Any]:
        """Return the fields of a `JobRequest` that come from headers, or else from the tenant's settings."""
        cancel_after = request.headers.get("cancel-after")
        retention = request.headers.get("x-retention")
        return {
            "retention_seconds": parse_retention_header(retention, self._settings.max_retention_days)
            if retention is not None
            else self._choose_retention(tenant),
            "image_options": parse_image_options(request),
            "metadata": parse_metadata_header(request),
            "cancel_after_seconds": parse_cancel_after(cancel_after) if cancel_after is not None else None,
            "idempotency_key": parse_idempotency_key(request),
        }

    def _check_tenant(self, name: str) -> None:
        """Raise an ApiError if the tenant may create nothing now."""
        self._find_tenant(name).check_not_erasing()
        self._check_pause(name)

    def _choose_retention(self, tenant: str) -> int | None:
        """Return the tenant's retention, which may be older than that of the stack; None if it has none."""
        seconds = self._find_tenant(tenant).retention_seconds
        return min(seconds, self._settings.max_retention_days * 86_400) if seconds is not None else None

    def _check_webhook(self, name: str, webhook: str | None) -> None:
        """Raise a 422 ApiError about this field if webhooks may not be sent to the URL."""
        if webhook is None:
            return
        try:
            parse_url(webhook, self._settings.webhook_addresses)
        except ForbiddenUrlError as error:
            raise field_error(name, error.reason, error_type="forbidden_url") from error


def _rebuild_request(public_base_url: str, correlation_id: str) -> Request:
    """Return the request that something was accepted with, as far as it is still known."""
    return Request(
        method="POST",
        resource="",
        path="",
        path_params={},
        query={},
        headers={"x-correlation-id": correlation_id},
        body=b"",
        public_base_url=public_base_url,
    )


def build_submission(kind: SubmissionKind, path_params: Mapping[str, str]) -> Submission:
    """Return the submission of a create by model or deployment. Raises a 404 ApiError for invalid names."""
    owner, name = path_params.get("owner", ""), path_params.get("name", "")
    if not is_name(owner) or not is_name(name):
        raise ApiError(404, "Not found", "The requested resource could not be found")
    return Submission(kind=kind, owner=owner, name=name)


def _build_entry_submission(entry: BatchEntryBody) -> Submission:
    for kind, full_name in (
        (SubmissionKind.MODEL, entry.model),
        (SubmissionKind.DEPLOYMENT, entry.deployment),
    ):
        if full_name is not None:
            owner, _, name = full_name.partition("/")
            return Submission(kind=kind, owner=owner, name=name)
    return Submission(kind=SubmissionKind.VERSION, version=entry.version)


def _apply_batch_webhook(entry: BatchEntryBody, batch: CreateBatchBody) -> BatchEntryBody:
    """Return the entry with the batch's webhook, unless it has one of its own; its own filter stays."""
    if entry.webhook or entry.webhook_completed:
        return entry
    events = entry.webhook_events_filter
    if events is None:
        events = batch.webhook_events_filter
    return entry.model_copy(update={"webhook": batch.webhook, "webhook_events_filter": events})
