"""Erasure of a tenant on the deployed stack, by a worker that crashes, with another tenant beside it."""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from replicate_proxy.clock import parse_timestamp
from tests.integration.api_client import ApiClient
from tests.integration.conftest import FOLDER
from tests.integration.models import FLUX, SMALL_IMAGE_INPUT
from tests.integration.stack_clock import StackClock, run_clock
from tests.integration.test_deletion import list_objects
from tools.local.faults import inject_faults
from tools.local.stack import Stack
from tools.local.waiting import wait_for
from tools.simulator.client import SimulatorClient

TABLES = ("JobsTableName", "AccessTableName", "DeliveriesTableName", "ControlTableName", "UsageTableName")
# Stays: sums of usage, and the report.
KEPT = ("USAGE#", "ERASURES")
CRASHES = {"admin.erasure_page_removed": 1.0}
TIMEOUT_SECONDS = 400
# One with an image, two of a batch, three of a large batch, and one that runs
PREDICTIONS = 7
__all__ = ["run_clock"]


def list_rows(stack: Stack, tenant: str) -> set[tuple[str, str, str]]:
    """Return table and key of all rows that name the tenant, in all tables but that of the audit trail."""
    tables = {name for name in stack.outputs if name.endswith("TableName")} - {"AuditTableName"}
    assert tables == set(TABLES)
    rows = set()
    for table in TABLES:
        pages = stack.get_client("dynamodb").get_paginator("scan").paginate(TableName=stack.outputs[table])
        for row in (row for page in pages for row in page["Items"]):
            pk = row["pk"]["S"]
            if tenant in str(row) and not pk.startswith(KEPT):
                rows.add((table, pk, row.get("sk", {}).get("S", "")))
    return rows


def fill(api: ApiClient, operator: ApiClient, tenant: str) -> None:
    """Store something of every kind about the tenant."""
    for path, body in (
        ("", {"display_name": tenant, "retention": "25d"}),
        ("/budget", {"day_usd": "100"}),
        ("/concurrency", {"max_concurrency": 50}),
    ):
        assert operator.call("PUT", f"/admin/tenants/{tenant}{path}", body).status_code == 200
    pause = {"activity": "deliveries", "tenant": tenant, "mode": "hold"}
    endpoint = {"url": "http://127.0.0.1:9/", "events": ["completed"]}
    assert api.call_until_available("POST", "/v1/webhooks/endpoints", endpoint).status_code == 201
    api.run(FLUX, SMALL_IMAGE_INPUT, webhook="http://127.0.0.1:9/", webhook_events_filter=["completed"])
    prediction = {"version": "local/lab", "input": {"output": f"of {tenant}"}}
    key = {"idempotency-key": f"key-{tenant}"}
    created = api.call_until_available("POST", "/v1/batches", {"predictions": [prediction] * 2}, headers=key)
    assert created.status_code == 201, created.text
    for each in created.json()["predictions"]:
        api.wait_until_finished(each["id"])
    lines = [json.dumps({"custom_id": str(number), **prediction}) for number in range(3)]
    file_id = api.upload_lines("\n".join(lines).encode())
    large = api.call_until_available("POST", "/v1/batches", {"input_file": file_id})
    assert large.status_code == 201, large.text
    path = f"/v1/batches/{large.json()['id']}"
    wait_for(
        lambda: api.call("GET", path).json()["status"] == "completed",
        timeout_seconds=TIMEOUT_SECONDS,
        description="the end of the large batch",
    )
    assert operator.call("POST", "/admin/pause", pause).status_code in {200, 201}


def check_is_filled(stack: Stack, objects: set[str], tenant: str) -> None:
    """Without content, the test would prove little."""
    assert {key.split("/")[0] for key in objects} >= {"outputs", "thumbs", "files", "batches"}
    assert {table for table, _, _ in list_rows(stack, tenant)} == set(TABLES)


@dataclass(frozen=True)
class Erasure:
    """Follows an erasure and lets the time pass that it waits for. Its worker crashes until `log` exists."""

    operator: ApiClient
    path: str
    clock: StackClock
    log: Path

    def get(self) -> dict[str, Any]:
        view: dict[str, Any] = self.operator.call_until_available("GET", f"{self.path}/erasure").json()
        return view

    def advance_until(self, status: str) -> None:
        def has_status() -> bool:
            if self.log.exists() and FOLDER.faults_file.exists():
                FOLDER.faults_file.write_text("{}", encoding="utf-8")
            view = self.get()
            if view["status"] == status:
                return True
            self.clock.advance_to(parse_timestamp(view["next_step_at"]) + timedelta(seconds=1))
            time.sleep(5)
            return False

        wait_for(has_status, timeout_seconds=TIMEOUT_SECONDS, description=f"status {status}")


@pytest.mark.slow
@pytest.mark.timeout(900)  # each step waits for a sweep of the local stack, which takes 45 seconds
def test_erased_tenant_leaves_nothing_and_another_keeps_everything(
    stack: Stack,
    simulator: SimulatorClient,
    make_key: Callable[..., str],
    operator: ApiClient,
    clock: StackClock,
    tmp_path: Path,
) -> None:
    erased, kept = f"erased-{secrets.token_hex(4)}", f"kept-{secrets.token_hex(4)}"
    apis = {name: ApiClient(stack.api_url, make_key(name), name) for name in (kept, erased)}
    before = list_objects(stack)
    fill(apis[kept], operator, kept)
    objects_of_kept = list_objects(stack) - before
    fill(apis[erased], operator, erased)
    objects_of_erased = list_objects(stack) - before - objects_of_kept
    running = apis[erased].create("local/lab", {"output": "on", "hold": True})
    wait_for(
        lambda: apis[erased].get(running["id"])["status"] == "processing",
        timeout_seconds=90,
        description="the start of a prediction",
    )
    rows_of_kept = list_rows(stack, kept)
    check_is_filled(stack, objects_of_erased, erased)
    path = f"/admin/tenants/{erased}"

    assert operator.call("DELETE", path, {"confirm": kept}).status_code == 422
    started = operator.call("DELETE", path, {"confirm": erased})
    assert (started.status_code, started.json()["status"]) == (202, "running")

    def is_refused() -> bool:
        # The emulator's API Gateway caches what it knows about a key for a minute.
        return apis[erased].call("GET", "/v1/predictions").status_code == 401

    wait_for(is_refused, timeout_seconds=90, description="the end of the key")
    assert operator.call("PUT", path, {}).status_code == 409
    assert operator.call("POST", "/admin/keys", {"tenant": erased}).status_code == 409

    log = tmp_path / "crashes.log"
    erasure = Erasure(operator, path, clock, log)

    with inject_faults(FOLDER, log, crash=CRASHES):
        wait_for(
            lambda: erasure.get()["removed"].get("predictions", 0) >= PREDICTIONS,
            timeout_seconds=150,
            description="the end of the predictions",
        )
        # The held prediction was canceled at Replicate, and nothing is left running there.
        stats = simulator.call_control_api("GET", "predictions?status=processing")["results"]
        assert running["id"] not in str(stats)
        erasure.advance_until("emptied")
    emptied = erasure.get()
    assert log.exists(), "the worker did not crash"
    assert list_objects(stack) & objects_of_erased == set()
    left = {pk.split("#")[0] for _, pk, _ in list_rows(stack, erased)}
    assert left <= {"JOB", "PREDICTION", "COUNTED", "TENANTS", "BULK"}

    erasure.advance_until("completed")

    report = erasure.get()
    assert report["removed"]["predictions"] == PREDICTIONS
    assert report["removed"]["output_files"] == emptied["removed"]["output_files"] >= 1
    wait_for(
        lambda: list_rows(stack, erased) == set(), timeout_seconds=60, description="the end of the last row"
    )
    assert list_objects(stack) & objects_of_erased == set()
    assert objects_of_kept <= list_objects(stack)
    assert rows_of_kept - list_rows(stack, kept) == set()
    assert operator.call("PUT", path, {"display_name": "a later tenant"}).status_code == 200
    actions = operator.call("GET", f"/admin/audit?target=tenants/{erased}/erasure").json()["results"]
    assert {action["action"] for action in actions} == {"erasure.start", "erasure.empty", "erasure.end"}
