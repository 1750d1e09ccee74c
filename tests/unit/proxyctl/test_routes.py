"""Every route of the admin API has a command, every command works, in text and as JSON."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml

from proxyctl.cli import cli
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.operations.dead_letters import DeadLetter
from tests.support.builders import make_job
from tests.support.clock import NOW
from tools.local.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.proxyctl.conftest import Outcome, Served

# Placeholders: KEY, JOB (failed), ACTIVE (queued) and BULK (running) are IDs, FILE and DOCUMENT are files
# with a model entry and with all entries.
COMMANDS = [
    "keys list",
    "keys list acme",
    "keys show KEY",
    "keys create acme --name backend --scope predictions:read --ip 10.0.0.0/8 --model acme/*",
    "keys update KEY --name other --any-ip --no-expiry",
    "keys rotate KEY --overlap-hours 0.5",
    "keys revoke KEY",
    "keys budget set KEY --day 5",
    "keys budget show KEY",
    "keys budget delete KEY",
    "tenants list",
    "tenants put acme --display-name Acme --image-format webp --image-quality 80 --retention 7d",
    "tenants show acme",
    "tenants erase acme --confirm acme",
    "tenants erasure initech",
    "tenants budget set acme --day 0.5 --month 100",
    "tenants budget show acme",
    "tenants budget delete acme",
    "tenants concurrency set acme 4",
    "tenants concurrency show acme",
    "tenants concurrency delete acme",
    "tenants replicate-token set acme",
    "tenants replicate-token show acme",
    "tenants replicate-token delete acme",
    "models list",
    "models show team/fast",
    "models put team/new -f FILE",
    "models put team/fast -f FILE --dry-run",
    "models delete team/fast",
    "models export",
    "models import -f DOCUMENT",
    "models import -f DOCUMENT --dry-run",
    "usage --tenant acme --from 2026-01-01 --to 2026-01-31 --by day,model",
    "pause acme --mode refuse --reason maintenance",
    "pause --all",
    "pause acme --deliveries",
    "pauses",
    "resume acme",
    "resume --all",
    "resume acme --deliveries",
    "concurrency",
    "queues",
    "dead-letters peek dispatch --limit 5 --bodies",
    "dead-letters redrive dispatch --tenant acme --rate 50",
    "dead-letters redrive all",
    "dead-letters discard dispatch --message m1",
    "batches --tenant acme",
    "replicate",
    "replays list",
    "replays start --from 2026-01-30T00:00:00Z --to 2026-01-30T06:00:00Z --rule harvest",
    "replays show REPLAY",
    "replays cancel REPLAY",
    "breaker show",
    "breaker trip --seconds 60",
    "breaker reset",
    "deliveries redeliver-failed acme --since 2026-01-30T00:00:00Z",
    "webhook-secret refresh",
    "jobs list --status failed --tenant acme --older-than 0",
    "jobs counts",
    "jobs show JOB",
    "jobs story JOB",
    "jobs cancel ACTIVE",
    "jobs retry JOB",
    "jobs retry JOB --tenant acme",
    "bulk start retry --status failed --yes",
    "bulk start redeliver --tenant acme --older-than 0 --expected-count 2",
    "bulk list",
    "bulk show BULK",
    "bulk cancel BULK",
    "audit list --action tenant.put --limit 5",
    "audit export",
    "audit verify",
    "jobs delete JOB --yes",
    "status",
]
TOKEN = "r8_tenant_token_1234"
# The fake admin API has no deliveries, and the job that has failed has no files.
FAILING_COMMANDS = [
    "deliveries redeliver acme d1",
    "jobs redeliver JOB --tenant acme",
    "jobs harvest JOB --tenant acme",
]
_METHODS = {"get", "put", "post", "patch", "delete"}


@pytest.fixture
def values(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Store something for each command to work on, and return the values of the placeholders."""
    call = served.api.call
    key = call("POST", "keys", {"tenant": "acme"})[1]
    call("PUT", "tenants/acme", {"display_name": "Acme"})
    call("PUT", "tenants/initech", {})
    call("DELETE", "tenants/initech", {"confirm": "initech"})
    call("PUT", "tenants/acme/budget", {"day_usd": "5"})
    call("PUT", f"keys/{key['id']}/budget", {"month_usd": "5"})
    call("PUT", "tenants/acme/concurrency", {"max_concurrency": 2})
    call("PUT", "models/team/fast", {"target": "acme/model"})
    served.api.accounts.names[TOKEN] = "acme-corp"
    call("PUT", "tenants/acme/replicate-token", {"token": TOKEN})
    monkeypatch.setenv("TENANT_REPLICATE_TOKEN", TOKEN)
    # Bulk operations act on what was created before them.
    job = make_job(JobStatus.FAILED, created_at=NOW - timedelta(seconds=1), error="bad input")
    active = make_job(created_at=NOW - timedelta(seconds=1))
    for stored in (job, active):
        served.api.jobs.create(stored)
    body = {"action": "redeliver", "filter": {"tenant": "acme"}, "expected_count": 2}
    operation = call("POST", "bulk-operations", body)[1]
    dead_letter = DeadLetter(
        id="m1", receipt_handle="r1", sent_at=NOW, receive_count=5, body='{"tenant": "acme"}'
    )
    served.api.queues.messages["q/dispatch-dead"] = [dead_letter]
    period = {"from": "2026-01-29T00:00:00Z", "to": "2026-01-30T00:00:00Z"}
    replay = call("POST", "replays", period)[1]
    entry, document = tmp_path / "entry.json", tmp_path / "models.json"
    entry.write_text(json.dumps({"target": "acme/other"}))
    document.write_text(json.dumps({"models": [{"name": "team/other", "target": "acme/other"}]}))
    return {
        "KEY": key["id"],
        "JOB": job.id,
        "ACTIVE": active.id,
        "REPLAY": replay["id"],
        "BULK": operation["id"],
        "FILE": str(entry),
        "DOCUMENT": str(document),
    }


def split(command: str, values: dict[str, str]) -> list[str]:
    return [values.get(word, word) for word in command.split()]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_succeeds_as_text_and_as_json(
    served: Served, values: dict[str, str], run: Callable[..., Outcome], command: str
) -> None:
    shown = run(*split(command, values))
    assert (shown.exit_code, shown.errors) == (0, ""), shown.errors
    assert shown.output.strip()
    assert {headers["User-Agent"] for headers in served.headers} == {"proxyctl"}


@pytest.mark.parametrize("command", [one for one in COMMANDS if one not in {"audit export", "models export"}])
def test_command_prints_json(
    served: Served, values: dict[str, str], run: Callable[..., Outcome], command: str
) -> None:
    shown = run(*split(command, values), "--json")
    assert shown.exit_code == 0, shown.errors
    assert isinstance(shown.json, dict | list)


def test_every_route_of_the_admin_api_has_a_command(
    served: Served, values: dict[str, str], run: Callable[..., Outcome]
) -> None:
    """The routes are those of openapi.yaml; a template matches the requests that the commands send."""
    document = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text(encoding="utf-8"))
    routes = {
        (method.upper(), path)
        for path, item in document["paths"].items()
        if path.startswith("/admin/")
        for method in item.keys() & _METHODS
    }
    assert len(routes) > 40
    for command in (*COMMANDS, *FAILING_COMMANDS):
        served.api.call("PUT", "models/team/fast", {"target": "acme/model"})
        run(*split(command, values))

    sent = set(served.requests)
    missing = {
        (method, path)
        for method, path in routes
        if not any(method == sent_method and _matches(path, sent_path) for sent_method, sent_path in sent)
    }
    assert missing == set()


def _matches(template: str, path: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) is not None


def test_every_command_is_in_the_list() -> None:
    listed = {tuple(command.split()) for command in (*COMMANDS, *FAILING_COMMANDS)}
    assert [
        " ".join(path)
        for path in _iterate_commands(cli, ())
        if not any(words[: len(path)] == path for words in listed)
    ] == []


@pytest.mark.parametrize("path", [*([name] for name in ("keys", "tenants", "models", "jobs", "audit")), []])
def test_help_needs_no_connection(run: Callable[..., Outcome], path: list[str]) -> None:
    shown = run(*path, "--help")
    assert shown.exit_code == 0
    assert shown.output.startswith("Usage: proxyctl")


def _iterate_commands(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _iterate_commands(command, (*path, name))
        else:
            yield (*path, name)


def test_every_command_describes_itself() -> None:
    def find(group: click.Group, path: tuple[str, ...]) -> Any:
        command: Any = group
        for name in path:
            command = command.commands[name]
        return command

    paths = list(_iterate_commands(cli, ()))
    assert [path for path in paths if not find(cli, path).help] == []
