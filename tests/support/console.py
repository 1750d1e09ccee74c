"""The console's handler on moto, used as a browser does: with cookies, and with the tokens of its forms."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import boto3

from functions.console import app
from replicate_proxy import signing
from replicate_proxy.audit.model import AuditFilter
from replicate_proxy.auth.keys import ApiKeySecret
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.aws.audit_store import DynamoAuditStore
from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore
from replicate_proxy.batches.model import BatchPhase
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import (
    Cost,
    Document,
    JobStatus,
    Submission,
    SubmissionKind,
    TimelineStep,
)
from replicate_proxy.outputs.records import FileOutcome, FileRecord
from replicate_proxy.webhooks.model import DeliveryStatus
from tests.support.access import make_key
from tests.support.aws import (
    ACCESS_TABLE,
    AUDIT_TABLE,
    CONTROL_TABLE,
    DELIVERIES_TABLE,
    JOBS_TABLE,
    create_control_table,
    create_deliveries_table,
    create_jobs_table,
)
from tests.support.builders import make_job, make_large_batch
from tests.support.handlers import CONTEXT, ROOT_SECRET, aws_account
from tests.support.url_keys import KEY_ID, make_url_key
from tests.support.webhook_builders import make_delivery

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest

    from replicate_proxy.audit.model import AuditRecord
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.webhooks.model import Delivery

ORIGIN = "https://proxy.test"
URL_KEY_PARAMETER = "/replicate-proxy/prod/private-outputs-key-1"
HOSTILE = """"><script>alert(1)</script><img src=x onerror='alert(2)'>"""
OPERATOR_PAGES = (
    *(
        "/bulk-operations",
        "/bulk-operations/new",
        "/bulk-operations/new?action=retry&status=failed",
        "/concurrency",
        "/replays",
        "/dead-letters",
        "/dead-letters/dispatch",
        "/models",
        "/models/new",
        "/tenants",
        "/tenants/acme",
    ),
    "/audit",
)
# What operators and tenants see
SHARED_PAGES = ("", "/predictions", "/batches", "/deliveries", "/usage")
_TOKEN = re.compile(r'name="csrf" value="([0-9a-f]+)"')


@dataclass(frozen=True)
class Page:
    """A response: its HTML, or where it leads."""

    status: int
    html: str
    headers: Mapping[str, str]

    @property
    def location(self) -> str:
        """The path within the console to which the page leads."""
        return self.headers["location"].removeprefix("/prod/console")

    @property
    def text(self) -> str:
        """The text of the page as a reader sees it, in one line."""
        return " ".join(re.sub(r"<[^>]*>", " ", self.html).split())


@dataclass
class Browser:
    """Keeps the cookie. Forms are sent with our own origin and the token of the session."""

    source_ip: str = "203.0.113.7"
    scheme: str = "https"
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""

    def get(self, path: str = "", **options: Any) -> Page:
        return self.send("GET", path, **options)

    def post(
        self, path: str, form: Mapping[str, Any] | None = None, *, csrf: str | None = None, **options: Any
    ) -> Page:
        fields = {"csrf": self.token if csrf is None else csrf, **(form or {})}
        return self.send("POST", path, body=urlencode(fields, doseq=True), **options)

    def sign_in(self, secret: ApiKeySecret | str) -> Page:
        """Sign in, and read a page that costs little, for the token of the session."""
        page = self.post("/sign-in", {"key": str(secret)})
        if page.status == 303:
            self.token = _TOKEN.findall(self.get("/batches").html)[0]
        return page

    def send(
        self,
        method: str,
        path: str,
        *,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        origin: str | None = ORIGIN,
    ) -> Page:
        parts = urlsplit(f"/console{path}")
        proxy = parts.path.removeprefix("/console").lstrip("/")
        all_headers = {
            "Host": "proxy.test",
            "X-Forwarded-Proto": self.scheme,
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            **({"Origin": origin} if origin and method == "POST" else {}),
            **(headers or {}),
        }
        event = {
            "httpMethod": method,
            "resource": "/console/{proxy+}" if proxy else "/console",
            "path": parts.path,
            "pathParameters": {"proxy": proxy} if proxy else None,
            "queryStringParameters": dict(parse_qsl(parts.query)) or None,
            "headers": all_headers,
            "body": body,
            "isBase64Encoded": False,
            "requestContext": {
                "domainName": "proxy.test",
                "stage": "prod",
                "apiId": "api123",
                "path": f"/prod{parts.path}",
                "requestId": "request-1",
                "identity": {"sourceIp": self.source_ip},
            },
        }
        response = app.lambda_handler(event, CONTEXT)
        self._keep_cookie(response["headers"].get("set-cookie", ""))
        return Page(response["statusCode"], response["body"], response["headers"])

    def _keep_cookie(self, header: str) -> None:
        if header:
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies[name] = value


@contextmanager
def console_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Provide an AWS account with everything that the console reads and changes."""
    variables = {
        "REPLICATE_PROXY_TABLE": JOBS_TABLE,
        "CONTROL_TABLE": CONTROL_TABLE,
        "DELIVERIES_TABLE": DELIVERIES_TABLE,
        "EVENT_BUS": "default",
        "REPLICATE_API_TOKEN": "/replicate-proxy/prod/replicate-api-token",
        "REPLICATE_WEBHOOK_SECRET": "/replicate-proxy/prod/replicate-webhook-secret",
        "CONSOLE_IMAGES_URL": "https://cdn.test",
        "PRIVATE_OUTPUTS_KEY_ID": KEY_ID,
        "PRIVATE_OUTPUTS_PUBLIC_KEY": make_url_key()[1],
        "PRIVATE_OUTPUTS_KEY_PARAMETER": URL_KEY_PARAMETER,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with aws_account(monkeypatch):
        create_jobs_table()
        create_control_table()
        create_deliveries_table()
        boto3.client("ssm").put_parameter(
            Name=URL_KEY_PARAMETER, Value=make_url_key()[0], Type="SecureString"
        )
        yield


def store_key(*scopes: Scope, **fields: Any) -> ApiKeySecret:
    """Store a key, of the tenant acme by default, and return its secret."""
    secret = ApiKeySecret.generate()
    digest = secret.compute_digest(signing.derive_key(ROOT_SECRET.encode(), "api-keys"))
    key, _ = make_key(id=secret.key_id, digest=digest, scopes=frozenset(scopes or DEFAULT_SCOPES), **fields)
    get_key_store().create(key)
    return secret


def get_key_store() -> DynamoKeyStore:
    return DynamoKeyStore(boto3.client("dynamodb"), ACCESS_TABLE)


def get_job_store() -> DynamoJobStore:
    return DynamoJobStore(boto3.client("dynamodb"), JOBS_TABLE)


def store_job(job: Job) -> Job:
    get_job_store().create(job)
    return job


def list_audit() -> list[AuditRecord]:
    store = DynamoAuditStore(boto3.client("dynamodb"), AUDIT_TABLE)
    return list(store.list_records(AuditFilter(), before_position=None, limit=50).records)


def make_finished_job(**fields: object) -> Job:
    now = datetime.now(UTC)
    record = FileRecord(
        path=(0,),
        outcome=FileOutcome.COMPRESSED,
        url="https://cdn.test/outputs/a.webp",
        thumbnail_url="https://cdn.test/thumbs/a.webp",
        bytes_before=2000,
        bytes_after=1000,
        width=64,
        height=64,
        quality=80,
        score=71.4,
    )
    defaults: dict[str, object] = {
        "created_at": now,
        "model": "acme/flux",
        "files": Document(text=json.dumps([record.to_json()])),
        "output": Document(text='["https://cdn.test/outputs/a.webp"]'),
        "cost": Cost(micro_usd=3000, basis="1 image × $0.003"),
        "timeline": {TimelineStep.ACCEPTED: now, TimelineStep.FINISHED: now + timedelta(seconds=2)},
    }
    return store_job(make_job(JobStatus.SUCCEEDED, **{**defaults, **fields}))


def store_document(value: object) -> Document:
    """Store a JSON value as large ones are stored."""
    key = "records/acme/1/document.json"
    build_document_store().put(key, json.dumps(value).encode())
    return Document(object_key=key)


def store_large_batch(batch_id: str, now: datetime, **fields: Any) -> DynamoLargeBatchStore:
    """Store a batch that runs, and return the store."""
    batch = make_large_batch(id=batch_id, created_at=now, phase=BatchPhase.RUNNING, **fields)
    store = DynamoLargeBatchStore(boto3.client("dynamodb"), JOBS_TABLE)
    store.create(batch)
    return store


def store_ended_delivery(created_at: datetime, **fields: Any) -> Delivery:
    """Store a delivery to a prediction's own webhook."""
    delivery = make_delivery(
        tenant="acme",
        job_id=generate_id(created_at),
        created_at=created_at,
        finished_at=created_at,
        due_at=None,
        next_attempt_at=None,
        **{"status": DeliveryStatus.FAILED, **fields},
    )
    DynamoDeliveryStore(boto3.client("dynamodb"), DELIVERIES_TABLE, due_shards=4).create(delivery)
    return delivery


def count_matching(operator: Browser, path: str) -> Page:
    """Return the count that the page of a chosen operation asks for once it is there."""
    page = operator.get(path)
    assert "Counting…" in page.text
    (link,) = re.findall(r'hx-get="[^"]*/console(/bulk-operations/new\?[^"]*)"', page.html)
    return operator.get(unescape(link))


def store_failed_job() -> Job:
    return store_job(
        make_job(
            JobStatus.FAILED,
            created_at=datetime.now(UTC),
            model="acme/flux",
            submission=Submission(kind=SubmissionKind.MODEL, owner="acme", name="flux"),
            input=Document(text='{"prompt": "a cat"}'),
        )
    )


def find_link(page: Page, text: str) -> str | None:
    """Return where a button leads within the console, None without one."""
    found = re.findall(rf'<a class="button"[^>]* href="/prod/console([^"]*)">{text}</a>', page.html)
    return unescape(found[0]) if found else None
