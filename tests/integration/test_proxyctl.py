"""The installed script on the deployed stack: the main paths of an operator, as tables and as JSON."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.api_client import ApiClient
from tests.support.proxyctl_install import install_proxyctl
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.local.stack import Stack

type Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_proxyctl(tmp_path_factory.mktemp("proxyctl") / "environment")


@pytest.fixture
def run(stack: Stack, script: Path, tmp_path: Path) -> Run:
    """run("keys", "list") runs the script with the stack in its environment; `variables` replace some."""
    connection = {"REPLICATE_PROXY_URL": stack.api_url, "REPLICATE_PROXY_ADMIN_KEY": stack.admin_key}

    def run_script(
        *arguments: str, exit_code: int = 0, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            [script, *arguments],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "240", **connection, **(variables or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert result.returncode == exit_code, result.stdout + result.stderr
        assert stack.admin_key not in result.stdout + result.stderr
        return result

    return run_script


def read_json(run: Run, *arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def test_key_is_created_used_listed_and_revoked(stack: Stack, run: Run) -> None:
    tenant = f"cli-{secrets.token_hex(4)}"
    key = read_json(run, "keys", "create", tenant, "--name", "backend")
    assert ApiClient(stack.api_url, key["key"]).call("GET", "/v1/predictions").status_code == 200
    listed = run("keys", "list", tenant).stdout
    assert (key["id"] in listed, "backend" in listed, key["key"] in listed) == (True, True, False)
    assert [one["id"] for one in read_json(run, "keys", "list", tenant)] == [key["id"]]
    assert read_json(run, "keys", "revoke", key["id"])["revoked_at"]
    [revoked, created] = read_json(run, "audit", "list", "--tenant", tenant)
    assert (created["action"], created["source"]) == ("key.create", "cli")
    assert revoked["action"] == "key.revoke"
    assert len(run("audit", "export", "--tenant", tenant).stdout.splitlines()) == 2


def test_models_are_put_exported_and_imported(run: Run, tmp_path: Path) -> None:
    name = f"cli/{secrets.token_hex(4)}"
    entry, document = tmp_path / "entry.json", tmp_path / "models.json"
    entry.write_text(json.dumps({"target": "black-forest-labs/flux-schnell", "description": "fast"}))
    assert "fast" in run("models", "put", name, "-f", str(entry)).stdout
    run("models", "export", "-o", str(document))
    assert run("models", "import", "-f", str(document), "--dry-run").stdout == "nothing would change\n"
    run("models", "delete", name)
    assert f"+++ {name}" in run("models", "import", "-f", str(document), "--dry-run").stdout
    assert read_json(run, "models", "import", "-f", str(document))["added"] == 1
    assert read_json(run, "models", "show", name)["description"] == "fast"
    run("models", "delete", name)


def test_tenant_is_paused_and_resumed(run: Run) -> None:
    tenant = f"cli-{secrets.token_hex(4)}"
    assert tenant in run("pause", tenant, "--mode", "refuse", "--reason", "test").stdout
    assert tenant in run("status").stdout
    assert tenant in [one["tenant"] for one in read_json(run, "pauses")]
    assert tenant not in run("resume", tenant).stdout


def test_failed_prediction_is_found_and_its_story_told(
    stack: Stack, run: Run, make_key: Callable[..., str]
) -> None:
    tenant = f"cli-{secrets.token_hex(4)}"
    api = ApiClient(stack.api_url, make_key(tenant))
    job = api.create("local/lab", {"status": "failed", "error": "bad input"})
    api.wait_until_finished(job["id"])
    arguments = ("jobs", "list", "--tenant", tenant, "--status", "failed")
    [found] = wait_for(lambda: read_json(run, *arguments), timeout_seconds=20, description="the index")
    assert found["id"] == job["id"]
    assert job["id"] in run(*arguments).stdout
    assert "bad input" in run("jobs", "show", job["id"]).stdout
    assert "step finished" in run("jobs", "story", job["id"]).stdout
    assert read_json(run, "jobs", "story", job["id"])["job"]["error"] == "bad input"
    assert "unfinished" in read_json(run, "jobs", "counts")


def test_story_has_the_lines_of_the_log(stack: Stack, run: Run, api: ApiClient, tmp_path: Path) -> None:
    job = api.run("local/lab", {"output": "done"})
    (tmp_path / ".local").mkdir()
    described = {name: getattr(stack, name) for name in ("api_url", "admin_key", "endpoint_url", "region")}
    (tmp_path / ".local/stack.json").write_text(json.dumps(described))

    shown = run("--local", "jobs", "story", job["id"], "--logs", variables={"REPLICATE_PROXY_URL": ""})

    assert "dispatch" in shown.stdout
    assert "step accepted" in shown.stdout


def test_operations_are_shown(run: Run) -> None:
    assert read_json(run, "audit", "verify")["valid"]
    assert "dispatch" in run("queues").stdout
    assert read_json(run, "breaker", "show")["state"] == "closed"
    assert run("usage", "--csv").stdout.startswith("day,")


def test_failures_are_explained(run: Run) -> None:
    refused = run("keys", "list", exit_code=1, variables={"REPLICATE_PROXY_ADMIN_KEY": "rp_wrong"})
    assert "hint: check REPLICATE_PROXY_ADMIN_KEY" in refused.stderr
    assert "rp_wrong" not in refused.stderr
    unknown = run("jobs", "story", "01kgahp2x3m4n5p6q7r8s9t0va", exit_code=1)
    assert unknown.stderr == "error: no prediction has the ID 01kgahp2x3m4n5p6q7r8s9t0va\n"
    missing = run("keys", "list", exit_code=2, variables={"REPLICATE_PROXY_URL": ""})
    assert "REPLICATE_PROXY_URL is not set" in missing.stderr
    unreachable = run("keys", "list", exit_code=1, variables={"REPLICATE_PROXY_URL": "http://127.0.0.1:1"})
    assert "did not respond" in unreachable.stderr
