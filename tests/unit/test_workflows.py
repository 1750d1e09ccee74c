"""GitHub workflows: pinned actions, least permissions, bounded time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github/workflows").glob("*.yml"))
PINNED_ACTION = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
ALLOWED_PERMISSIONS: tuple[dict[str, str], ...] = ({}, {"contents": "read"})
OPENID_CONNECT = {"contents": "read", "id-token": "write"}


def load(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def test_workflows_exist() -> None:
    assert {path.name for path in WORKFLOWS} >= {"test.yml", "security.yml", "release.yml"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_action_is_pinned_by_commit_with_version_beside_it(path: Path) -> None:
    used = [
        line.split("uses:", 1)[1].strip() for line in path.read_text("utf-8").splitlines() if "uses:" in line
    ]
    assert used
    assert [action for action in used if not PINNED_ACTION.fullmatch(action)] == []


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
    for name, job in load(path)["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 90, name
        checkouts = [
            step for step in job["steps"] if str(step.get("uses", "")).startswith("actions/checkout@")
        ]
        assert checkouts, name
        assert all(step["with"]["persist-credentials"] is False for step in checkouts), name
