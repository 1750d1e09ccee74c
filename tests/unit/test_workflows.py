"""GitHub workflows: pinned actions, least permissions, bounded time, and releases of tested commits only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github/workflows").glob("*.yml"))
RELEASE = Path(__file__).parents[2] / ".github/workflows/release.yml"
PINNED_ACTION = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
ALLOWED_PERMISSIONS: tuple[dict[str, str], ...] = ({}, {"contents": "read"})
OPENID_CONNECT = {"contents": "read", "id-token": "write"}
TRUSTED_TRIGGERS = {"push", "schedule", "workflow_dispatch", "workflow_call"}
"""Only people with write access cause these events.

`pull_request_target` and `workflow_run` run with the repository's secrets for an event that a fork can cause
(GitHub Docs, "Secure use reference", "Mitigating the risks of untrusted code checkout").
"""


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def load_triggers(path: Path) -> dict[str, Any]:
    triggers: dict[str, Any] = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)["on"]  # noqa: S506 - builds only strings
    return triggers


def load_jobs_with_steps(path: Path) -> dict[str, Any]:
    """Return the jobs that are not another workflow of this repository."""
    return {name: job for name, job in load(path)["jobs"].items() if "steps" in job}


def find_credentials(path: Path) -> set[str]:
    """Return the jobs that can get credentials: secrets, an environment, or OpenID Connect."""
    return {
        name
        for name, job in load(path)["jobs"].items()
        if "environment" in job
        or "secrets" in job
        or "${{ secrets." in str(job)
        or "id-token" in job.get("permissions", {})
    }


def test_workflows_exist() -> None:
    assert {path.name for path in WORKFLOWS} >= {"test.yml", "security.yml", "release.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_action_is_pinned_by_commit_with_version_beside_it(path: Path) -> None:
    used = [
        line.split("uses:", 1)[1].strip() for line in path.read_text("utf-8").splitlines() if "uses:" in line
    ]
    assert used
    own_workflows = {f"./.github/workflows/{workflow.name}" for workflow in WORKFLOWS}
    assert [name for name in used if not PINNED_ACTION.fullmatch(name) and name not in own_workflows] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_token_can_only_read(path: Path) -> None:
    assert load(path)["permissions"] in ALLOWED_PERMISSIONS


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_job_adds_no_permission_but_openid_connect_for_releases(path: Path) -> None:
    jobs = load(path)["jobs"].values()
    granted = [job["permissions"] for job in jobs if "permissions" in job]
    allowed = [*ALLOWED_PERMISSIONS, *([OPENID_CONNECT] if path.name == "release.yml" else [])]
    assert [permissions for permissions in granted if permissions not in allowed] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_job_has_time_limit_and_stores_no_credentials(path: Path) -> None:
    for name, job in load_jobs_with_steps(path).items():
        assert 0 < job["timeout-minutes"] <= 90, name
        checkouts = [
            step for step in job["steps"] if str(step.get("uses", "")).startswith("actions/checkout@")
        ]
        assert checkouts, name
        assert all(step["with"]["persist-credentials"] is False for step in checkouts), name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_job_with_credentials_runs_only_for_trusted_events(path: Path) -> None:
    if find_credentials(path):
        assert load_triggers(path).keys() <= TRUSTED_TRIGGERS


def test_pull_request_replaces_its_own_runs_only() -> None:
    """The name of a branch is no identity: two forks may have the same, such as patch-1."""
    concurrency = load(RELEASE.with_name("test.yml"))["concurrency"]

    assert concurrency["cancel-in-progress"] is True
    assert "github.event.pull_request.number || github.run_id" in concurrency["group"]


def test_no_workflow_is_started_by_event_of_fork_with_secrets() -> None:
    triggers = {trigger for path in WORKFLOWS for trigger in load_triggers(path)}

    assert triggers <= TRUSTED_TRIGGERS | {"pull_request"}


def test_release_has_credentials_and_is_the_only_one() -> None:
    assert {path.name: find_credentials(path) for path in WORKFLOWS if find_credentials(path)} == {
        "release.yml": {"release"}
    }


def test_release_waits_for_tests_and_security_checks_of_the_same_commit() -> None:
    jobs = load(RELEASE)["jobs"]

    needed = {jobs[name]["uses"] for name in jobs["release"]["needs"]}
    assert needed == {"./.github/workflows/test.yml", "./.github/workflows/security.yml"}
    # A needed job that failed or was skipped is ignored only by a condition with one of these functions.
    assert not re.search(r"always|failure|cancelled|success", jobs["release"]["if"])
    assert all("if" not in jobs[name] for name in jobs["release"]["needs"])
    # Without `ref`, the called workflows and the release check out the commit of the event.
    checkouts = [
        step
        for path in (RELEASE, *(path for path in WORKFLOWS if path.name in {"test.yml", "security.yml"}))
        for job in load_jobs_with_steps(path).values()
        for step in job["steps"]
        if str(step.get("uses", "")).startswith("actions/checkout@")
    ]
    assert len(checkouts) == 5
    assert all("ref" not in step["with"] and "repository" not in step["with"] for step in checkouts)


@pytest.mark.parametrize("name", ["test.yml", "security.yml"])
def test_check_fails_its_run_if_a_step_fails(name: str) -> None:
    path = RELEASE.with_name(name)

    assert "workflow_call" in load_triggers(path)
    assert "continue-on-error" not in path.read_text(encoding="utf-8")


def test_release_runs_for_main_and_version_tags_only() -> None:
    assert load_triggers(RELEASE)["push"] == {"branches": ["main"], "tags": ["v*"]}
    # A run by hand can be started on any branch.
    condition = load(RELEASE)["jobs"]["release"]["if"]
    assert condition == "github.ref == 'refs/heads/main' || startsWith(github.ref, 'refs/tags/v')"
