"""Commands of predictions of all tenants."""

from __future__ import annotations

from typing import Any

import click

from proxyctl.app import SEGMENT, App, Command, Group, drop_missing, filter_options, pass_app
from proxyctl.client import build_path
from proxyctl.output import print_fields, print_line, print_markup
from proxyctl.story import tell_story

_COLUMNS = (
    "id",
    "tenant",
    "status",
    "wait_reason",
    "model",
    "created_at",
    "completed_at",
    "error_class",
    "cost_usd",
)
_TENANT_OPTION = click.option("--tenant", help="Its tenant, which is searched for without it.")


@click.group(cls=Group)
def jobs() -> None:
    """Find predictions of all tenants, see what happened to them, and act on them."""


@jobs.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@pass_app
def list_jobs(app: App, /, limit: int, older_than: int | None, **filters: str | None) -> None:
    """List predictions, newest first."""
    query = drop_missing(**filters)
    if older_than is not None:
        query["older_than"] = str(older_than)
    app.show_rows(app.client.list_results(build_path("jobs"), query, limit=limit), _COLUMNS)


@jobs.command("counts")
@pass_app
def count_jobs(app: App) -> None:
    """Count predictions by status."""
    counts = app.client.call("GET", build_path("jobs", "counts"))
    if app.as_json:
        app.show_fields(counts)
        return
    rows = [{"status": name, "predictions": number} for name, number in counts["unfinished"].items()]
    rows.append({"status": "of these overdue", "predictions": counts.get("overdue")})
    since = counts["ended_since"]
    rows += [
        {"status": f"{name} since {since}", "predictions": number} for name, number in counts["ended"].items()
    ]
    app.show_rows(rows, ("status", "predictions"))
    if not counts["complete"]:
        print_line("There are more unfinished ones than were counted.")


@jobs.command("show")
@click.argument("job_id", metavar="ID", type=SEGMENT)
@_TENANT_OPTION
@pass_app
def show_job(app: App, job_id: str, tenant: str | None) -> None:
    """Show a prediction as its tenant sees it, inputs and outputs included, and what operators see."""
    job = app.client.call("GET", _build_job_path(app, job_id, tenant))
    if app.as_json:
        app.show_fields(job)
        return
    operator = job.pop("operator")
    proxy = job.pop("proxy", {})
    print_fields(
        {**operator, **{name: value for name, value in {**proxy, **job}.items() if name not in operator}}
    )


@jobs.command("story")
@click.argument("job_id", metavar="ID", type=SEGMENT)
@_TENANT_OPTION
@click.option(
    "--logs", is_flag=True, help="Show the lines of the logs, too; needs AWS credentials and boto3."
)
@pass_app
def show_story(app: App, job_id: str, tenant: str | None, logs: bool) -> None:
    """Show all that is recorded about a prediction, in time order."""
    story: dict[str, Any] = app.client.call("GET", _build_job_path(app, job_id, tenant, "story"))
    if app.as_json:
        app.show_fields(story)
        return
    for line in tell_story(story, app.connection.create_logs_client() if logs else None):
        print_markup(line)


@jobs.command("cancel")
@click.argument("job_id", metavar="ID", type=SEGMENT)
@_TENANT_OPTION
@pass_app
def cancel_job(app: App, job_id: str, tenant: str | None) -> None:
    """Cancel a prediction."""
    _show_job(app, _act(app, job_id, tenant, "cancel"))


@jobs.command("redeliver")
@click.argument("job_id", metavar="ID", type=SEGMENT)
@_TENANT_OPTION
@pass_app
def redeliver_job(app: App, job_id: str, tenant: str | None) -> None:
    """Send all webhooks of a prediction again."""
    app.show_fields(_act(app, job_id, tenant, "redeliver"))


@jobs.command("harvest")
@click.argument("job_id", metavar="ID", type=SEGMENT)
@_TENANT_OPTION
@pass_app
def harvest_job(app: App, job_id: str, tenant: str | None) -> None:
    """Fetch files again that are left at Replicate, within an hour after the end of the prediction."""
    _show_job(app, _act(app, job_id, tenant, "harvest"))


@jobs.command("retry")
@click.argument("job_id", metavar="ID", type=SEGMENT)
@_TENANT_OPTION
@pass_app
def retry_job(app: App, job_id: str, tenant: str | None) -> None:
    """Run a failed or canceled prediction again, as a new one, which is shown. Its tenant pays."""
    _show_job(app, _act(app, job_id, tenant, "retry"))


@jobs.command("delete")
@click.argument("job_id", metavar="ID", type=SEGMENT)
@_TENANT_OPTION
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_app
def delete_job(app: App, job_id: str, tenant: str | None, yes: bool) -> None:
    """Delete a prediction that has ended, with its files and webhooks. It is shown as it was."""
    if not yes:
        click.confirm(f"Delete prediction {job_id} with its files?", abort=True, err=True)
    _show_job(app, _act(app, job_id, tenant, "delete"))


@click.command("batches", cls=Command)
@click.option("--tenant", help="Only batches of this tenant.")
@click.option("--limit", type=click.IntRange(1, 20), default=20, show_default=True)
@pass_app
def list_batches(app: App, tenant: str | None, limit: int) -> None:
    """List the newest batches with their progress."""
    query = {"limit": str(limit), **drop_missing(tenant=tenant)}
    results = app.client.call("GET", build_path("batches"), query=query)["results"]
    app.show_rows(results, ("id", "tenant", "status", "created_at", "total", "counts"))


def register(parent: click.Group) -> None:
    parent.add_command(jobs)
    parent.add_command(list_batches)


def _act(app: App, job_id: str, tenant: str | None, action: str) -> dict[str, Any]:
    response: dict[str, Any] = app.client.call("POST", _build_job_path(app, job_id, tenant, action), {})
    return response


def _show_job(app: App, response: dict[str, Any]) -> None:
    app.show_fields(response["job"])


def _build_job_path(app: App, job_id: str, tenant: str | None, *segments: str) -> str:
    owner = tenant or app.client.find_job(job_id)["tenant"]
    return build_path("jobs", owner, job_id, *segments)
