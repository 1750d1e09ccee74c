"""From the HTTP request of a create to a validated `NewJob`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from replicate_proxy.api.predictions.bodies import (
    NAME,
    CreateBatchBody,
    CreatePredictionBody,
    CreatePredictionByVersionBody,
    parse_cancel_after,
    parse_request,
    refuse,
    refuse_all,
)
from replicate_proxy.auth.principal import Principal
from replicate_proxy.errors import ApiError
from replicate_proxy.images.options import ImageOptions, InvalidImageOptionError
from replicate_proxy.jobs.model import Submission, SubmissionKind
from replicate_proxy.services.ingest import JobRequest

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request
    from replicate_proxy.api.predictions.bodies import BatchEntryBody
    from replicate_proxy.errors import InvalidField


_CORRELATION = re.compile(r"[A-Za-z0-9._:/=+@-]{1,128}")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
type InputCheck = Callable[[Mapping[str, Any], Principal, str], None]


@dataclass(frozen=True, slots=True)
class ParserSettings:
    """`public_base_url` is empty where our own URLs follow the request's host; `max_body_bytes` bounds a
    body; a local stack also tells applications on this machine, by plain http.
    """

    public_base_url: str = ""
    max_body_bytes: int = 5_000_000
    allow_loopback_webhooks: bool = False


class JobRequestParser:
    """Validates all of a create request before anything is written. Every fault is an ApiError naming the
    field.
    """

    def __init__(self, settings: ParserSettings, check_input: InputCheck) -> None:
        self._settings = settings
        self._check_input = check_input

    def build_submission(self, kind: SubmissionKind, params: Mapping[str, str]) -> Submission:
        """The submission of a create by model or deployment. Raises a 404 ApiError for impossible names."""
        owner, name = params.get("owner", ""), params.get("name", "")
        if not NAME.fullmatch(owner) or not NAME.fullmatch(name):
            raise ApiError(404, "Not found", "The requested resource could not be found")
        return Submission(kind=kind, owner=owner, name=name)

    def parse(self, request: Request, submission: Submission | None, principal: Principal) -> JobRequest:
        """The job behind the request; `submission` None takes it from the body's `version`."""
        body = self._body(request)
        if submission is not None:
            return self._job(request, parse_request(CreatePredictionBody, body), submission, principal)
        by_version = parse_request(CreatePredictionByVersionBody, body)
        chosen = Submission(kind=SubmissionKind.VERSION, version=by_version.version)
        return self._job(request, by_version, chosen, principal)

    def parse_batch(self, request: Request, principal: Principal) -> tuple[list[JobRequest], str | None]:
        """The jobs behind `POST /v1/batches`, and the idempotency key, which is the whole batch's. Every
        entry is looked at, so that one reply names all that is wrong.
        """
        batch = parse_request(CreateBatchBody, self._body(request))
        self._check_webhook(batch.webhook)
        shared = {"webhook": batch.webhook, "webhook_events_filter": batch.webhook_events_filter}
        news, wrong = [], []
        for index, entry in enumerate(batch.predictions):
            told = entry if entry.webhook or entry.webhook_completed else entry.model_copy(update=shared)
            try:
                news.append(self._entry(request, told, _submission(entry), principal))
            except ApiError as error:
                if not error.invalid_fields:
                    raise _of_entry(index, error) from error
                wrong += [_field_of_entry(index, field) for field in error.invalid_fields]
        if wrong:
            raise refuse_all(wrong)
        headers = _headers(request)
        key = headers.pop("idempotency_key")
        return [replace(new, **headers) for new in news], key

    def parse_plain(self, request: Request, principal: Principal) -> JobRequest:
        """`POST /`: `{"version", "input": {"model", "prompt", …}}`. Without a `version`, an `owner/name` in
        `input.model` names the model and is not passed on.
        """
        body = self._body(request)
        given = body.get("input") if isinstance(body, dict) else None
        if isinstance(given, dict) and not body.get("version") and "/" in str(given.get("model", "")):
            rest = {name: value for name, value in given.items() if name != "model"}
            body = {**body, "version": given["model"], "input": rest}
        by_version = parse_request(CreatePredictionByVersionBody, body)
        chosen = Submission(kind=SubmissionKind.VERSION, version=by_version.version)
        return self._job(request, by_version, chosen, principal)

    def _body(self, request: Request) -> Any:
        if len(request.body) > self._settings.max_body_bytes:
            limit = self._settings.max_body_bytes
            raise ApiError(
                413,
                "Body too large",
                f"The body has {len(request.body)} bytes and may have {limit};"
                " upload large files and pass their URLs",
            )
        return request.json()

    def _job(
        self, request: Request, body: CreatePredictionBody, submission: Submission, principal: Principal
    ) -> JobRequest:
        return replace(self._entry(request, body, submission, principal), **_headers(request))

    def _entry(
        self, request: Request, body: CreatePredictionBody, submission: Submission, principal: Principal
    ) -> JobRequest:
        """What the body and the caller say of a job, without what the headers say."""
        base_url = self._settings.public_base_url or request.base_url
        _check_model(submission, principal)
        self._check_input(body.input, principal, base_url)
        webhook, events = body.webhook, body.webhook_events_filter
        if webhook is None and body.webhook_completed is not None:
            webhook, events = body.webhook_completed, ["completed"]
        self._check_webhook(webhook)
        return JobRequest(
            submission=submission,
            input=body.input,
            base_url=base_url,
            correlation_id=_correlation_id(request),
            webhook=webhook,
            webhook_events=tuple(dict.fromkeys(events)) if events is not None else None,
        )

    def _check_webhook(self, webhook: str | None) -> None:
        if webhook is None:
            return
        try:
            url = urlsplit(webhook)
            host, port = url.hostname, url.port
        except ValueError:
            raise refuse("invalid_webhook", "webhook", "webhook must be a URL") from None
        plain = url.scheme == "http" and host in _LOOPBACK and self._settings.allow_loopback_webhooks
        if not (url.scheme == "https" or plain) or not host or port == 0:
            raise refuse("invalid_webhook", "webhook", "webhook must be an HTTPS URL")
        if url.username is not None or url.password is not None:
            raise refuse("invalid_webhook", "webhook", "webhook must not hold a user name or password")


def _submission(entry: BatchEntryBody) -> Submission:
    kinds = {SubmissionKind.MODEL: entry.model, SubmissionKind.DEPLOYMENT: entry.deployment}
    for kind, full_name in kinds.items():
        if full_name is not None:
            owner, _, name = full_name.partition("/")
            return Submission(kind=kind, owner=owner, name=name)
    return Submission(kind=SubmissionKind.VERSION, version=entry.version)


def _field_of_entry(index: int, field: InvalidField) -> InvalidField:
    return replace(field, field=f"predictions.{index}.{field.field}")


def _of_entry(index: int, error: ApiError) -> ApiError:
    return ApiError(error.status, error.title, f"predictions.{index}: {error.detail}")


def _check_model(submission: Submission, principal: Principal) -> None:
    """A key may be limited to models, given as `owner/name`, `owner/*` or a version id."""
    if not principal.models:
        return
    names = {submission.model_name, f"{submission.model_name.partition('/')[0]}/*", submission.version_id}
    if not names & set(principal.models):
        raise ApiError(403, "Model not allowed", "This API key may not run that model")


def _headers(request: Request) -> dict[str, Any]:
    """The fields of a `NewJob` that headers fill."""
    cancel_after = request.headers.get("cancel-after")
    return {
        "image_options": _image_options(request),
        "cancel_after_seconds": parse_cancel_after(cancel_after) if cancel_after is not None else None,
        "idempotency_key": _idempotency_key(request),
    }


def _image_options(request: Request) -> dict[str, Any] | None:
    wanted = {
        name: request.headers[f"x-image-{name}"]
        for name in ("format", "quality")
        if f"x-image-{name}" in request.headers
    }
    try:
        options = ImageOptions.parse(format=wanted.get("format"), quality=wanted.get("quality"))
    except InvalidImageOptionError as error:
        header = f"X-Image-{error.field.title()}"
        raise refuse("invalid_header", header, f"{header}: {error}") from None
    return {name: asdict(options)[name] for name in wanted} or None


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise refuse(
            "invalid_header", "Idempotency-Key", "Idempotency-Key must be 1 to 255 visible ASCII characters"
        )
    return key


def _correlation_id(request: Request) -> str:
    given = request.headers.get("x-correlation-id", "")
    return given if _CORRELATION.fullmatch(given) else request.request_id
