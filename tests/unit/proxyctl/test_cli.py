"""What single commands send and print, and how they fail."""

from __future__ import annotations

import io
import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests
import responses

import proxyctl
from proxyctl.cli import main
from proxyctl.output import clean, print_table
from replicate_proxy.api.admin.actor import CLI_USER_AGENT
from replicate_proxy.auth.keys import ApiKeySecret
from replicate_proxy.operations.replicate_status import TokenCheck, TokenState
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.loopback import send_response, serve_http
from tests.unit.proxyctl.conftest import ADMIN_KEY, URL
from tools.local.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.proxyctl.conftest import Outcome, Served

ENTRY = {"target": "acme/model"}


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    path = tmp_path / "entry.json"
    path.write_text(json.dumps(ENTRY))
    return str(path)


def test_key_is_created_listed_rotated_and_revoked(served: Served, run: Callable[..., Outcome]) -> None:
    created = run(
        "keys", "create", "acme", "--scope", "predictions:read", "--ip", "10.0.0.0/8", "--json"
    ).json
    assert ApiKeySecret.parse(created["key"])
    assert (created["scopes"], created["allowed_ips"]) == (["predictions:read"], ["10.0.0.0/8"])
    assert [key["id"] for key in run("keys", "list", "acme", "--json").json] == [created["id"]]
    assert run("keys", "list", "globex", "--json").json == []
    rotated = run("--json", "keys", "rotate", created["id"], "--overlap-hours", "0.5").json
    assert rotated["key"] != created["key"]
    assert rotated["previous_secret_until"] == "2026-01-31T10:00:00.000Z"
    assert run("keys", "revoke", created["id"], "--json").json["revoked_at"]


def test_secret_is_shown_once_in_one_line(
    served: Served, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown = run("keys", "create", "acme")
    [line] = [line for line in shown.output.splitlines() if line.startswith("key ")]
    secret = line.split()[1]
    assert ApiKeySecret.parse(secret)
    assert "not shown again" in shown.output
    assert secret not in run("keys", "list").output


def test_key_has_default_scopes_when_none_are_named(served: Served, run: Callable[..., Outcome]) -> None:
    scopes = run("keys", "create", "acme", "--json").json["scopes"]
    assert scopes == ["files:write", "predictions:read", "predictions:write"]


def test_update_sends_only_what_is_given(served: Served, run: Callable[..., Outcome]) -> None:
    served.api.has_usage_plans = True
    key = run("keys", "create", "acme", "--name", "old", "--json").json
    limits = ("--rate", "5", "--burst", "10")
    assert run("keys", "update", key["id"], "--any-ip", "--no-expiry", *limits).exit_code == 0
    assert served.bodies[-1] == {
        "allowed_ips": [],
        "expires_at": None,
        "limits": {"rate": 5, "burst": 10, "monthly_quota": None},
    }


@pytest.mark.parametrize(
    "command",
    [
        "keys update k1",
        "keys update k1 --ip 10.0.0.1 --any-ip",
        "keys create acme --rate 5",
        "keys show ..",
        "models show fast",
        "models show ../fast",
        "pause",
        "pause acme --all",
        "tenants budget set acme",
        "dead-letters discard dispatch",
        "jobs list --limit 0",
        "keys rotate k1 --overlap-hours nan",
        "keys rotate k1 --overlap-hours inf",
        "keys rotate k1 --overlap-hours 1e308",
        "keys show \udcff",
        "models show acme/\udcff",
        "breaker trip --seconds nan",
        "dead-letters redrive dispatch --rate inf",
        "keys create acme --rate nan --burst 1",
        "jobs list --nope",
        "nope",
        "keys",
    ],
)
def test_wrong_usage_sends_nothing_and_exits_with_2(
    served: Served, run: Callable[..., Outcome], command: str
) -> None:
    shown = run(*command.split())
    assert (shown.exit_code, served.requests) == (2, [])
    assert "Usage: proxyctl" in shown.errors


def test_file_that_is_no_json_object_is_wrong_usage(
    served: Served, run: Callable[..., Outcome], tmp_path: Path
) -> None:
    path = tmp_path / "entry.json"
    for text in ("{", "[]", '{"timeout_seconds": NaN}', "[" * 100_000):
        path.write_text(text)
        assert run("models", "put", "team/fast", "-f", str(path)).exit_code == 2
    path.write_text('{"entries": []}')
    assert run("models", "import", "-f", str(path)).exit_code == 2
    entries: tuple[object, ...] = ({"name": ["x"]}, {"name": 1}, {"name": None}, {}, [])
    for entry in entries:
        path.write_text(json.dumps({"models": [entry]}))
        assert run("models", "import", "-f", str(path)).exit_code == 2
    assert served.requests == []


@pytest.mark.parametrize("name", ["REPLICATE_PROXY_URL", "REPLICATE_PROXY_ADMIN_KEY"])
def test_missing_variable_is_named(
    served: Served, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, " ")
    shown = run("keys", "list")
    assert shown.exit_code == 2
    assert f"{name} is not set" in shown.errors
    assert ADMIN_KEY not in shown.errors


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REPLICATE_PROXY_URL", "https://[::1"),
        ("REPLICATE_PROXY_ADMIN_KEY", "ключ"),
        ("REPLICATE_PROXY_ADMIN_KEY", "rp_a\nb"),
        ("REPLICATE_PROXY_ADMIN_KEY", "rp_a b"),
    ],
)
def test_variable_that_cannot_be_sent_is_wrong_usage(
    served: Served, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    shown = run("keys", "list")
    assert (shown.exit_code, served.requests) == (2, [])
    assert f"Error: {name} is not a " in shown.errors
    assert "ключ" not in shown.errors


def test_parameter_that_cannot_be_sent_is_an_error(served: Served, run: Callable[..., Outcome]) -> None:
    shown = run("keys", "list", "\udcff")
    assert (shown.exit_code, served.requests) == (1, [])
    assert "invalid characters" in shown.errors


@pytest.mark.parametrize("url", ["http://api.example/prod", "ftp://127.0.0.1", "api.example"])
def test_key_is_not_sent_unencrypted(
    served: Served, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("REPLICATE_PROXY_URL", url)
    shown = run("keys", "list")
    assert (shown.exit_code, served.requests) == (2, [])
    assert "must be an https URL" in shown.errors


def test_local_stack_is_found_in_the_folder_above(
    run: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".local").mkdir()
    stack = {"api_url": URL, "admin_key": "k", "endpoint_url": "http://127.0.0.1:1", "region": "us-east-1"}
    (tmp_path / ".local/stack.json").write_text(json.dumps(stack))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/admin/breaker", json={"state": "closed"})
        assert run("--local", "breaker", "show", "--json").json == {"state": "closed"}
        assert mock.calls[0].request.headers["Authorization"] == "Bearer k"
    monkeypatch.chdir("/")
    shown = run("--local", "breaker", "show")
    assert shown.exit_code == 2
    assert "make up" in shown.errors


def test_refusal_names_fields(served: Served, run: Callable[..., Outcome]) -> None:
    shown = run("keys", "create", "ACME")
    assert shown.exit_code == 1
    assert "error: POST /admin/keys: 422 " in shown.errors
    assert "tenant must be" in shown.errors
    as_json = run("keys", "create", "ACME", "--json")
    error = json.loads(as_json.errors)["error"]
    assert (error["status"], error["problem"]["status"]) == (422, 422)


def test_wrong_key_is_explained_without_being_shown(
    served: Served, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPLICATE_PROXY_ADMIN_KEY", "rp_wrong")
    shown = run("keys", "list")
    assert shown.exit_code == 1
    assert "401" in shown.errors
    assert "hint: check REPLICATE_PROXY_ADMIN_KEY" in shown.errors
    assert "rp_wrong" not in shown.errors


@pytest.mark.parametrize("status", [429, 500, 503])
def test_unavailable_api_suggests_another_try(
    run: Callable[..., Outcome], served: Served, status: int
) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/admin/keys", json={"detail": "busy"}, status=status)
        shown = run("keys", "list")
    assert shown.exit_code == 1
    assert f"{status} busy" in shown.errors
    assert "try again" in shown.errors


@pytest.mark.parametrize("body", [requests.ConnectionError(f"Bearer {ADMIN_KEY}"), "<html>"])
def test_failed_connection_names_the_variable(run: Callable[..., Outcome], served: Served, body: Any) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/admin/keys", body=body, content_type="application/json")
        shown = run("keys", "list")
    assert shown.exit_code == 1
    assert "REPLICATE_PROXY_URL" in shown.errors
    assert ADMIN_KEY not in shown.errors


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("<html>hi</html>", "text/html"),
        ("", "text/html"),
        ("", "application/json"),
        ("[]", "application/json"),
        ('"busy"', "application/json"),
        ("[" * 100_000, "application/json"),
    ],
)
@pytest.mark.parametrize("command", ["keys list", "usage --csv", "audit export", "models show team/fast"])
def test_response_of_another_server_is_an_error(
    run: Callable[..., Outcome], served: Served, command: str, body: str, content_type: str
) -> None:
    with responses.RequestsMock() as mock:
        mock.get(re.compile(URL), body=body, content_type=content_type)
        shown = run(*command.split())
    assert (shown.exit_code, shown.output) == (1, "")
    assert "the response is not JSON" in shown.errors or "the response is not a JSON object" in shown.errors
    assert "hint: check REPLICATE_PROXY_URL" in shown.errors


@pytest.mark.parametrize(
    "body", ['{"invalid_fields": ["name"]}', '{"invalid_fields": 5}', '{"detail": {}}', "[" * 100_000]
)
def test_error_of_another_server_is_no_crash(run: Callable[..., Outcome], served: Served, body: str) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/admin/keys", status=400, body=body, content_type="application/json")
        shown = run("keys", "list")
    assert shown.exit_code == 1
    assert "GET /admin/keys: 400" in shown.errors


@pytest.mark.parametrize(
    "body", ["{}", '{"results": 5, "next": null}', '{"results": [5]}', '{"results": [{}]}']
)
@pytest.mark.parametrize(
    "command",
    [
        *("status", "jobs list", "jobs counts", "jobs story j1", "jobs cancel j1", "batches", "queues"),
        *("replicate", "pauses", "keys list", "tenants list", "models list", "usage", "bulk list"),
        *("audit list", "audit verify", "replays list", "concurrency", "dead-letters peek dispatch"),
    ],
)
def test_json_object_of_another_server_is_no_crash(
    run: Callable[..., Outcome], served: Served, command: str, body: str
) -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        for method in ("GET", "POST"):
            mock.add(method, re.compile(URL), body=body, content_type="application/json")
        shown = run(*command.split())
    assert shown.exit_code in {0, 1}
    if shown.exit_code:
        assert re.search(r": the response (has no|is not)|no prediction has the ID", shown.errors)


def test_redirect_is_an_error_and_not_followed(run: Callable[..., Outcome], served: Served) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{URL}/admin/keys", status=302, headers={"Location": "https://other.example/"})
        assert run("keys", "list").exit_code == 1
        assert len(mock.calls) == 1


def test_credentials_of_netrc_are_not_used(
    run: Callable[..., Outcome], served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.example login other password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert run("keys", "list").exit_code == 0
    assert served.headers[0]["Authorization"] == f"Bearer {ADMIN_KEY}"


def test_key_for_this_machine_is_not_sent_to_a_proxy(
    run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serve_http(lambda handler: send_response(handler, b'{"results": [], "next": null}')) as api,
        serve_http(lambda handler: send_response(handler, status=502)) as proxy,
    ):
        for name, value in {"HTTP_PROXY": proxy.url(""), "no_proxy": "", "NO_PROXY": ""}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("REPLICATE_PROXY_URL", api.url("/local"))
        monkeypatch.setenv("REPLICATE_PROXY_ADMIN_KEY", ADMIN_KEY)
        assert run("keys", "list").exit_code == 0
    assert (len(api.requests), proxy.requests) == (1, [])


def test_status_names_tokens_that_are_of_no_use(served: Served, run: Callable[..., Outcome]) -> None:
    """Nothing is sent to Replicate then, although the circuit breaker is closed."""
    assert "tokens        valid\n" in run("status").output
    served.api.replicate_status._checks.put(
        "token", TokenCheck(TokenState.REJECTED, NOW, reason="Replicate rejects our token"), 60
    )
    assert "tokens        rejected: (shared)\n" in run("status").output
    accounts = run("replicate").output
    assert "token reason" in accounts
    assert "Replicate rejects our token" in accounts
    assert [name for name in ("breaker", "creates left", "creates per minute") if name not in accounts] == []


def test_status_says_how_many_jobs_are_overdue(served: Served, run: Callable[..., Outcome]) -> None:
    assert "overdue       none\n" in run("status").output
    served.api.jobs.create(make_job(next_check_at=NOW - timedelta(minutes=4)))
    assert "overdue       1\n" in run("status").output
    assert re.search(r"^of these overdue +1 *$", run("jobs", "counts").output, re.MULTILINE)


def test_status_is_shown_while_the_accounts_cannot_be_read(
    served: Served, run: Callable[..., Outcome]
) -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        mock.get(f"{URL}/admin/replicate", json={"detail": "timed out"}, status=504)
        mock.add_callback("GET", re.compile(f"{URL}/admin/.*"), callback=served.respond, content_type=None)
        shown = run("status")
    assert shown.exit_code == 0
    assert "tokens        not known\n" in shown.output


@pytest.mark.parametrize("width", ["110", "80", "40"])
def test_ids_of_tables_are_whole_in_narrow_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: str
) -> None:
    """Other commands take them."""
    monkeypatch.setenv("COLUMNS", width)
    row = {
        "message_id": "b6a66050-b3c8-4c15-8d6a-775056e611bf",
        "tenant": "a-tenant-with-a-long-name",
        "job_id": "01kgahp2x3m4n5p6q7r8s9t0va",
        "sent_at": "2026-11-27T21:34:49.479Z",
        "last": "end",
    }
    print_table(tuple(row), [row, {**row, "job_id": "y" * 300}])
    shown = capsys.readouterr().out
    assert row["message_id"] in shown
    assert row["job_id"] in shown
    assert "end" in shown
    assert shown.count("y") == 300


def test_unknown_job_is_an_error(served: Served, run: Callable[..., Outcome]) -> None:
    for command in ("show", "story"):
        shown = run("jobs", command, "01kgahp2x3m4n5p6q7r8s9t0va")
        assert (shown.exit_code, shown.errors) == (
            1,
            "error: no prediction has the ID 01kgahp2x3m4n5p6q7r8s9t0va\n",
        )


def test_exported_models_can_be_imported(
    served: Served, run: Callable[..., Outcome], model_file: str, tmp_path: Path
) -> None:
    assert run("models", "put", "team/fast", "-f", model_file).exit_code == 0
    exported = tmp_path / "models.json"
    assert run("models", "export", "-o", str(exported)).exit_code == 0
    assert run("models", "import", "-f", str(exported), "--dry-run").output == "nothing would change\n"
    run("models", "delete", "team/fast")
    shown = run("models", "import", "-f", str(exported), "--dry-run")
    assert '+  "target": "acme/model",' in shown.output
    assert run("models", "list", "--json").json == []
    result = run("models", "import", "-f", str(exported), "--json").json
    assert result == {"added": 1, "deleted": 0, "entries": 1}
    assert [entry["name"] for entry in run("models", "list", "--json").json] == ["team/fast"]


def test_dry_run_of_put_shows_the_difference(
    served: Served, run: Callable[..., Outcome], model_file: str, tmp_path: Path
) -> None:
    run("models", "put", "team/fast", "-f", model_file)
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"target": "acme/other"}))
    shown = run("models", "put", "team/fast", "-f", str(other), "--dry-run")
    assert '-  "target": "acme/model"' in shown.output
    assert '+  "target": "acme/other"' in shown.output
    assert run("models", "show", "team/fast", "--json").json["target"] == "acme/model"
    changed = run("models", "put", "team/fast", "-f", str(other), "--dry-run", "--json").json
    assert changed == {"added": [], "deleted": [], "changed": ["team/fast"]}


def test_change_of_another_operator_is_not_overwritten(
    served: Served, run: Callable[..., Outcome], model_file: str
) -> None:
    run("models", "put", "team/fast", "-f", model_file)
    etag = run("models", "show", "team/fast").output.rpartition("etag")[2].strip()
    served.api.call("PUT", "models/team/fast", {"target": "acme/other"})
    shown = run("models", "put", "team/fast", "-f", model_file, "--if-match", etag)
    assert shown.exit_code == 1
    assert "412" in shown.errors
    assert "hint: its present state does not allow it" in shown.errors
    assert run("models", "show", "team/fast", "--json").json["target"] == "acme/other"


def test_usage_is_printed_as_csv_and_jsonl(served: Served, run: Callable[..., Outcome]) -> None:
    assert run("usage", "--csv").output.splitlines()[0].startswith("day,predictions,succeeded,")
    assert run("usage", "--jsonl").exit_code == 0


def test_table_of_usage_has_all_columns_of_the_export(served: Served, run: Callable[..., Outcome]) -> None:
    names = run("usage", "--csv").output.splitlines()[0]
    header = run("usage").output.splitlines()[0]
    assert header.split() == names.replace("_", " ").replace(",", " ").split()


def test_lists_are_read_to_the_limit(run: Callable[..., Outcome], served: Served) -> None:
    def respond(request: Any) -> tuple[int, dict[str, str], str]:
        first = int(request.params.get("cursor", "0"))
        results = [{"id": str(number)} for number in range(first, first + int(request.params["limit"]))]
        # An address that the client cannot reach: it must ask its own.
        content = {"results": results, "next": f"https://internal/admin/jobs?cursor={first + 100}"}
        return 200, {}, json.dumps(content)

    with responses.RequestsMock() as mock:
        mock.add_callback("GET", f"{URL}/admin/jobs", callback=respond, content_type="application/json")
        results = run("jobs", "list", "--limit", "250", "--json").json
    assert [int(job["id"]) for job in results] == list(range(250))


def test_export_of_audit_trail_follows_the_link(run: Callable[..., Outcome], served: Served) -> None:
    with responses.RequestsMock() as mock:
        link = {"Link": '<https://internal/admin/audit?format=jsonl&cursor=abc>; rel="next"'}
        kind = "application/x-ndjson"
        mock.get(f"{URL}/admin/audit?format=jsonl", body='{"a": 1}\n', headers=link, content_type=kind)
        mock.get(f"{URL}/admin/audit?format=jsonl&cursor=abc", body='{"a": 2}\n', content_type=kind)
        assert run("audit", "export").output == '{"a": 1}\n{"a": 2}\n'


def test_broken_audit_trail_fails(run: Callable[..., Outcome], served: Served) -> None:
    first: dict[str, Any] = {"valid": True, "checked": 1000, "error": None, "sequence": None, "head": {}}
    broken = {
        "valid": False,
        "checked": 3,
        "error": "hash differs",
        "sequence": 1004,
        "head": {},
        "next": None,
    }
    with responses.RequestsMock() as mock:
        url = f"{URL}/admin/audit/verification"
        mock.get(url, json={**first, "next": f"{url}?cursor=c"})
        mock.get(f"{url}?cursor=c", json=broken)
        shown = run("audit", "verify")
    assert shown.exit_code == 1
    assert "hash differs (record 1004)" in shown.errors


@pytest.mark.parametrize(
    ("command", "result", "left"),
    [
        (
            "redrive dispatch --tenant acme",
            {"handled": 0, "skipped": 9000, "done": False},
            "9000 were skipped",
        ),
        (
            "discard dispatch --tenant acme",
            {"handled": 0, "skipped": 9000, "done": False},
            "9000 were skipped",
        ),
        ("redrive dispatch", {"handled": 4, "skipped": 2, "done": True}, "2 messages could not be redriven"),
    ],
)
def test_unfinished_redrive_fails_and_says_what_is_left(
    run: Callable[..., Outcome], served: Served, command: str, result: dict[str, Any], left: str
) -> None:
    with responses.RequestsMock() as mock:
        mock.post(re.compile(f"{URL}/admin/queues/dispatch/(redrive|discard)"), json=result)
        shown = run("dead-letters", *command.split())
        as_json = run("dead-letters", *command.split(), "--json")
    assert (shown.exit_code, as_json.exit_code) == (1, 1)
    assert shown.output.startswith(f"dispatch: {result['handled']} ")
    assert left in shown.errors
    assert as_json.json == {"dispatch": result["handled"]}
    assert left in json.loads(as_json.errors)["error"]["message"]


def test_redelivery_goes_on_by_cursor(served: Served, run: Callable[..., Outcome]) -> None:
    command = ("deliveries", "redeliver-failed", "acme", "--since", "2026-01-30T00:00:00Z", "--json")
    assert run(*command).json == {"redelivered": 10}
    assert [body.get("cursor") is None for body in served.bodies] == [True, False]


def test_changes_are_recorded_as_made_by_the_command_line(
    served: Served, run: Callable[..., Outcome]
) -> None:
    run("tenants", "put", "acme")
    [record] = run("audit", "list", "--json").json
    assert (record["action"], record["source"]) == ("tenant.put", "cli")
    assert CLI_USER_AGENT == "proxyctl"


def test_control_characters_reach_no_terminal(served: Served, run: Callable[..., Outcome]) -> None:
    served.api.call("POST", "keys", {"tenant": "acme", "name": "\x1b]0;title\x07[bold]x[/]"})
    shown = run("keys", "list")
    assert "\x1b]" not in shown.output
    assert "[bold]x[/]" in shown.output
    assert clean("a\x1b[31mb\n\x9b") == "a [31mb  "


def test_control_characters_in_json_are_escaped(served: Served, run: Callable[..., Outcome]) -> None:
    name = "a\x1b[31m\x7f\x9b31m\x85é"
    served.api.call("POST", "keys", {"tenant": "acme", "name": name})

    outcome = run("keys", "list", "--json")

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", outcome.output)
    assert "é" in outcome.output
    assert outcome.json[0]["name"] == name


def test_interruption_exits_with_130(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("proxyctl.client.AdminClient.send", interrupt)
    assert main(["breaker", "show"]) == 130


def test_version_is_that_of_the_project(run: Callable[..., Outcome]) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{proxyctl.__version__}"' in project
    assert proxyctl.__version__ in run("--version").output


def test_token_of_a_tenant_is_read_from_stdin(
    served: Served, run: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    served.api.accounts.names["r8_token_of_acme_1234"] = "acme-corp"
    monkeypatch.delenv("TENANT_REPLICATE_TOKEN", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO("r8_token_of_acme_1234\n"))
    shown = run("tenants", "replicate-token", "set", "acme")
    assert shown.exit_code == 0, shown.errors
    assert "acme-corp" in shown.output
    assert "r8_token" not in shown.output
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert run("tenants", "replicate-token", "set", "acme").exit_code == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("r8_unknown\n"))
    refused = run("tenants", "replicate-token", "set", "acme")
    assert (refused.exit_code, "r8_unknown" in refused.errors) == (1, False)
