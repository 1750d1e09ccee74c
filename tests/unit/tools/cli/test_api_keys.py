"""The api_keys command against the admin API, which is served at a fake address."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import responses

from replicate_proxy.auth.keys import ApiKeySecret
from replicate_proxy.errors import ConfigurationError, PermanentError, RetryableError
from tools.cli import api_keys
from tools.cli.admin_client import AdminClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.admin_api import AdminApi

URL = "https://api.example/prod"
VARIABLES = {"REPLICATE_PROXY_URL": URL, "REPLICATE_PROXY_ADMIN_KEY": "rp_operator"}


@pytest.fixture
def served(admin_api: AdminApi) -> Iterator[AdminApi]:
    """Serve the admin API on fakes; only the operator's key has the scope `admin`."""

    def respond(request: Any) -> tuple[int, dict[str, str], str]:
        scopes = "admin" if request.headers["Authorization"] == "Bearer rp_operator" else None
        url = urlsplit(request.url)
        body = json.loads(request.body) if request.body else None
        path = url.path.removeprefix("/prod/admin/")
        status, content = admin_api.call(
            request.method, path, body, scopes=scopes, **dict(parse_qsl(url.query))
        )
        return status, {"content-type": "application/json"}, json.dumps(content)

    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "DELETE"):
            mock.add_callback(method, re.compile(f"{URL}/admin/.*"), callback=respond)
        yield admin_api


def run(*arguments: str) -> Any:
    return api_keys.run_command(api_keys.parse_arguments(arguments), AdminClient.from_environment(VARIABLES))


def test_key_is_created_listed_rotated_and_revoked(served: AdminApi) -> None:
    created = run("create", "acme", "--scope", "predictions:read", "--ip", "10.0.0.0/8", "--model", "acme/*")
    assert ApiKeySecret.parse(created["key"])
    assert (created["scopes"], created["allowed_ips"]) == (["predictions:read"], ["10.0.0.0/8"])
    assert [key["id"] for key in run("list")] == [created["id"]]
    assert [key["id"] for key in run("list", "acme")] == [created["id"]]
    assert run("list", "globex") == []
    rotated = run("rotate", created["id"], "--overlap-hours", "0.5")
    assert rotated["key"] != created["key"]
    assert rotated["previous_secret_until"] == "2026-01-31T10:00:00.000Z"
    assert run("revoke", created["id"])["revoked_at"]


def test_key_has_default_scopes_when_none_are_named(served: AdminApi) -> None:
    assert run("create", "acme")["scopes"] == ["files:write", "predictions:read", "predictions:write"]


def test_error_contains_detail_of_problem(served: AdminApi) -> None:
    with pytest.raises(PermanentError, match="POST /admin/keys: 422 tenant must be"):
        run("create", "ACME")
    with pytest.raises(PermanentError, match="DELETE /admin/keys/nope: 404 "):
        run("revoke", "nope")
    with pytest.raises(PermanentError, match="401"):
        AdminClient(URL, "rp_unknown").list_keys()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_client_raises_retryable_error_when_api_is_busy_or_fails(status: int) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/admin/keys", json={"detail": "busy"}, status=status)
        with pytest.raises(RetryableError, match=str(status)):
            AdminClient(URL, "rp_operator").list_keys()


@pytest.mark.parametrize("body", [requests.ConnectionError(), "<html>"])
def test_client_raises_retryable_error_when_api_does_not_respond(body: Any) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/admin/keys", body=body)
        with pytest.raises(RetryableError, match="did not respond"):
            AdminClient(URL, "rp_operator").list_keys()


@pytest.mark.parametrize("name", ["REPLICATE_PROXY_URL", "REPLICATE_PROXY_ADMIN_KEY"])
def test_client_names_missing_variable(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        AdminClient.from_environment(VARIABLES | {name: ""})


def test_main_prints_json_or_error(
    served: AdminApi, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert api_keys.main(["create", "acme"]) == 0
    # The API runs in this process, so its metrics are in the output, too, one line each.
    output = capsys.readouterr().out
    assert json.loads(output[output.index("{\n") :])["tenant"] == "acme"
    assert api_keys.main(["revoke", "aaaaaaaaaaaa"]) == 1
    assert capsys.readouterr().err.startswith("error: DELETE /admin/keys/aaaaaaaaaaaa: 404 ")
