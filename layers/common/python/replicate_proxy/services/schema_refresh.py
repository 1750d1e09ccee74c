"""Read the input schemas of models from Replicate and record them, for the validation by ingest.

The dispatcher asks for the schema of a model after Replicate has accepted a job of it, by a message to its
own queue: no job waits for that, and none fails with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ProxyError, RetryableError
from replicate_proxy.input_schemas.rules import build_rules
from replicate_proxy.jobs.model import SubmissionKind
from replicate_proxy.observability import logger
from replicate_proxy.replicate_api.known_models import name_target
from replicate_proxy.replicate_api.response import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.input_schemas.rules import Rules
    from replicate_proxy.jobs.model import Account, Job
    from replicate_proxy.ports import CommandQueue
    from replicate_proxy.replicate_api.response import UpstreamResponse

# What becomes part of a path of Replicate's API.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}/[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_VERSION_ID = re.compile(r"[0-9a-f]{64}")


class ResourceReader(Protocol):
    """Reads from Replicate, subject to circuit breaker and rate limit."""

    def read(self, path: str) -> UpstreamResponse: ...


class SchemaStore(Protocol):
    """What is known about schemas: `input_schemas.known_schemas.KnownSchemas`. Does not raise."""

    def is_due(self, target: str) -> bool: ...

    def claim(self, target: str) -> bool: ...

    def record(self, target: str, rules: Rules | None) -> None: ...


@dataclass(frozen=True, slots=True)
class SchemaRefresher:
    """Asks for schemas that are not known (`request`), and handles the command to read one (`refresh`)."""

    schemas: SchemaStore
    get_reader: Callable[[Account], ResourceReader]
    queue: CommandQueue

    def request(self, job: Job) -> None:
        """Have the schema of what the job runs read soon, if it is not known. Does not raise."""
        if not self.schemas.is_due(_name_schema(job)):
            return
        try:
            self.queue.send(DispatchCommand.for_job(DispatchKind.SCHEMA, job))
        except RetryableError as error:
            logger.warning("input schema not requested", reason=str(error))

    def refresh(self, job: Job) -> None:
        """Read and record the schema of what the job runs. A failure is left to a later job."""
        target, path = _name_schema(job), _build_path(job)
        if path is None or not self.schemas.claim(target):
            return
        try:
            response = self.get_reader(job.account).read(path)
            document = parse_json(response.body) if response.status == HTTPStatus.OK else None
        except (ProxyError, RecursionError) as error:
            logger.warning("input schema not read", reason=type(error).__name__)
            return
        if document is None:
            logger.warning("input schema not read", status=response.status)
        else:
            self.schemas.record(target, _find_rules(document))


@dataclass(frozen=True, slots=True)
class SchemaRecorder:
    """Records the schemas in responses that were read for callers. Does not raise."""

    schemas: SchemaStore

    def record_model(self, name: str, body: bytes, account: Account) -> None:
        self._record(account.qualify(f"models/{name}"), body)

    def record_version(self, version_id: str, body: bytes, account: Account) -> None:
        self._record(account.qualify(f"versions/{version_id}"), body)

    def _record(self, target: str, body: bytes) -> None:
        if not self.schemas.is_due(target):
            return
        try:
            document = parse_json(body)
        except (ProxyError, RecursionError):
            # The catalog answers the caller that the response could not be understood.
            return
        self.schemas.record(target, _find_rules(document))


def _name_schema(job: Job) -> str:
    """Return the target of the job, whose schema the job's account knows."""
    return job.account.qualify(name_target(job.submission))


def _build_path(job: Job) -> str | None:
    """Return the path of the version that runs, or of the model whose version Replicate does not show."""
    is_model = job.submission.kind is SubmissionKind.MODEL
    model = (job.submission.model_name if is_model else job.model) or ""
    version = job.version or job.submission.version_id
    if not _MODEL.fullmatch(model):
        return None
    path = f"/v1/models/{model}"
    return f"{path}/versions/{version}" if _VERSION_ID.fullmatch(version) else path


def _find_rules(document: Any) -> Rules | None:
    """Return the rules in the description of a version, or of a model with its latest version."""
    version = document.get("latest_version", document) if isinstance(document, dict) else None
    return build_rules(version.get("openapi_schema")) if isinstance(version, dict) else None
