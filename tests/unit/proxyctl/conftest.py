"""The admin API on fakes, served at a fake address, and a way to run proxyctl against it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import responses

from proxyctl.cli import main
from tests.unit.replicate_proxy.operations.conftest import admin_api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.admin_api import AdminApi

__all__ = ["admin_api"]

URL = "https://api.example/prod"
ADMIN_KEY = "rp_operator_secret"


@dataclass
class Served:
    """The admin API, and the requests that it got: method, path, headers and body."""

    api: AdminApi
    requests: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    def respond(self, request: Any) -> tuple[int, dict[str, str], str]:
        """Answer a request; only the operator's key has the scope `admin`."""
        url = urlsplit(request.url)
        path = url.path.removeprefix("/prod")
        self.requests.append((request.method, path))
        self.headers.append(dict(request.headers))
        self.bodies.append(json.loads(request.body) if request.body else None)
        self.api.user_agent = request.headers["User-Agent"]
        response = self.api.send(
            request.method,
            unquote(path.removeprefix("/admin/")),
            self.bodies[-1],
            scopes="admin" if request.headers["Authorization"] == f"Bearer {ADMIN_KEY}" else None,
            headers={
                name: request.headers[name]
                for name in ("If-Match", "Idempotency-Key")
                if name in request.headers
            },
            query=dict(parse_qsl(url.query)),
        )
        return response["statusCode"], dict(response["headers"]), response["body"] or ""


@pytest.fixture
def served(admin_api: AdminApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Serve the admin API, and name it in the environment."""
    monkeypatch.setenv("REPLICATE_PROXY_URL", f"{URL}/")
    monkeypatch.setenv("REPLICATE_PROXY_ADMIN_KEY", ADMIN_KEY)
    server = Served(admin_api)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            # The response has the content type, which a default would precede.
            mock.add_callback(
                method, re.compile(f"{URL}/admin/.*"), callback=server.respond, content_type=None
            )
        yield server


@dataclass(frozen=True)
class Outcome:
    """The exit code and the output of a run."""

    exit_code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.output)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """run("keys", "list") runs proxyctl as its script does."""
    monkeypatch.setenv("COLUMNS", "220")

    def run_command(*arguments: str) -> Outcome:
        capsys.readouterr()
        exit_code = main(arguments)
        output, errors = capsys.readouterr()
        # The API runs in this process: its metrics are in the output, too, one line each.
        lines = [line for line in output.splitlines(keepends=True) if not line.startswith('{"_aws"')]
        return Outcome(exit_code, "".join(lines), errors)

    return run_command
