"""API keys from the command line, against the admin API behind a made-up address."""

from __future__ import annotations

import json
import re
import sys
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

    from tests.unit.replicate_proxy.operations.conftest import World

URL = "https://api.example/prod"
VARIABLES = {"REPLICATE_PROXY_URL": URL, "REPLICATE_PROXY_ADMIN_KEY": "rp_operator"}


@pytest.fixture
def served(world: World) -> Iterator[World]:
    """The admin API over fakes, at URL, for the operator's key alone."""

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        scopes = "admin" if request.headers["Authorization"] == "Bearer rp_operator" else None
        address = urlsplit(request.url)
        body = json.loads(request.body) if request.body else None
        path = address.path.removeprefix("/prod/admin/")
        status, found = world.call(
            request.method, path, body, scopes=scopes, **dict(parse_qsl(address.query))
        )
        return status, {"content-type": "application/json"}, json.dumps(found)

    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST", "DELETE"):
            mock.add_callback(method, re.compile(f"{URL}/admin/.*"), callback=answer)
        yield world


def run(*arguments: str) -> Any:
    return api_keys.run_command(arguments, VARIABLES)


def test_a_key_is_made_listed_rotated_and_revoked(served: World) -> None:
    made = run("create", "acme", "--scope", "predictions:read", "--ip", "10.0.0.0/8", "--model", "acme/*")
    assert ApiKeySecret.parse(made["key"])
    assert (made["scopes"], made["allowed_ips"]) == (["predictions:read"], ["10.0.0.0/8"])
    assert [key["id"] for key in run("list")] == [key["id"] for key in run("list", "acme")] == [made["id"]]
    assert run("list", "globex") == []
    turned = run("rotate", made["id"], "--overlap-hours", "0.5")
    assert turned["key"] != made["key"]
    assert turned["previous_secret_until"] == "2026-01-31T10:00:00.000Z"
    assert run("revoke", made["id"])["revoked_at"]


def test_without_a_scope_a_key_has_the_usual_ones(served: World) -> None:
    assert run("create", "acme")["scopes"] == ["files:write", "predictions:read", "predictions:write"]


def test_a_refusal_comes_with_the_problems_own_words(served: World) -> None:
    with pytest.raises(PermanentError, match="tenant: must be"):
        run("create", "ACME")
    with pytest.raises(PermanentError, match="401"):
        AdminClient(URL, "rp_stranger").list_keys()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_says_so(status: int) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/admin/keys", json={"detail": "busy"}, status=status)
        with pytest.raises(RetryableError, match=str(status)):
            AdminClient(URL, "rp_operator").list_keys()


@pytest.mark.parametrize("body", [requests.ConnectionError(), "<html>"])
def test_no_answer_is_a_passing_failure(body: Any) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/admin/keys", body=body)
        with pytest.raises(RetryableError, match="did not answer"):
            AdminClient(URL, "rp_operator").list_keys()


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match="REPLICATE_PROXY_URL"):
        api_keys.run_command(["list"], {})


def test_the_program_prints_json_or_one_line_of_what_is_wrong(
    served: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["command", "create", "acme"])
    api_keys.main()
    assert json.loads(capsys.readouterr().out)["tenant"] == "acme"
    monkeypatch.setattr(sys, "argv", ["command", "revoke", "aaaaaaaaaaaa"])
    with pytest.raises(SystemExit, match="404"):
        api_keys.main()
