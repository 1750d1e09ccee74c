"""The console's handler on moto, used as a browser does: with cookies, and with the tokens of its forms."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import boto3

from functions.console import app
from replicate_proxy import signing
from replicate_proxy.auth.keys import ApiKeySecret
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.key_store import DynamoKeyStore
from tests.support.access import make_key
from tests.support.aws import (
    ACCESS_TABLE,
    CONTROL_TABLE,
    DELIVERIES_TABLE,
    JOBS_TABLE,
    create_control_table,
    create_deliveries_table,
    create_jobs_table,
)
from tests.support.handlers import CONTEXT, ROOT_SECRET, aws_account
from tests.support.url_keys import KEY_ID, make_url_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest

    from replicate_proxy.jobs.model import Job

ORIGIN = "https://proxy.test"
URL_KEY_PARAMETER = "/replicate-proxy/prod/private-outputs-key-1"
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
