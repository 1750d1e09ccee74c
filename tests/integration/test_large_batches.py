"""A large batch on the deployed stack, whose worker is killed at random points."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.api_client import ApiClient
from tests.integration.conftest import FOLDER
from tests.integration.receiver import run_receiver
from tools.batches.worker import end_waits_after_crash, start_worker
from tools.local.faults import inject_faults
from tools.local.stack import Stack
from tools.local.waiting import wait_for

LINES = 120
BAD_LINES = {7: b"{not json", 100: b'{"custom_id": "no-target", "input": {}}'}
CRASHES = {
    "batch.jobs_stored": 0.4,
    "batch.jobs_enqueued": 0.4,
    "batch.lines_stored": 0.4,
    "batch.slice_saved": 0.4,
}
TIMEOUT_SECONDS = 240
RESTART_SECONDS = 5


def build_file(marker: str) -> bytes:
    lines = []
    for number in range(1, LINES + 1):
        line = {"custom_id": f"c{number}", "version": "local/lab", "input": {"output": f"{marker} {number}"}}
        lines.append(BAD_LINES.get(number) or json.dumps(line).encode())
    return b"\n".join(lines)


def get_batch(api: ApiClient, batch_id: str) -> dict[str, Any]:
    response = api.call("GET", f"/v1/batches/{batch_id}")
    assert response.status_code == 200, response.text
    batch: dict[str, Any] = response.json()
    return batch


def list_predictions(api: ApiClient, batch_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    path: str | None = f"/v1/predictions?batch={batch_id}"
    while path:
        page = api.call("GET", path).json()
        found += page["results"]
        path = page["next"].removeprefix(api.url) if page["next"] else None
    return found


class Worker:
    """Starts the next worker once one has crashed, or some seconds after the last start."""

    def __init__(self, stack: Stack, log: Path) -> None:
        self._stack = stack
        self._log = log
        self._crashes = 0
        self._started_at = time.monotonic()

    def count_crashes(self) -> int:
        return self._log.read_text("utf-8").count('"crash"') if self._log.exists() else 0

    def keep_running(self) -> None:
        crashes, age = self.count_crashes(), time.monotonic() - self._started_at
        if crashes > self._crashes:
            end_waits_after_crash(self._stack)
        elif age < RESTART_SECONDS:
            time.sleep(0.3)
            return
        self._crashes, self._started_at = crashes, time.monotonic()
        start_worker(self._stack)


@pytest.mark.slow
def test_batch_whose_worker_crashes_runs_each_line_once(
    stack: Stack, api: ApiClient, make_api: Any, tmp_path: Path
) -> None:
    marker, log = uuid.uuid4().hex, tmp_path / "crashes.jsonl"
    body: dict[str, Any] = {"input_file": api.upload_lines(build_file(marker))}
    with run_receiver() as receiver, inject_faults(FOLDER, log, crash=CRASHES):
        body["webhook"] = receiver.url
        created = api.call("POST", "/v1/batches", body)
        assert created.status_code == 201, created.text
        batch_id = created.json()["id"]

        worker = Worker(stack, log)

        def is_expanded() -> bool:
            worker.keep_running()
            return not get_batch(api, batch_id)["total_is_estimated"]

        wait_for(is_expanded, timeout_seconds=TIMEOUT_SECONDS, description="the end of the expansion")
        FOLDER.faults_file.write_text("{}", encoding="utf-8")
        assert worker.count_crashes()
        first_page = api.call("GET", f"/v1/batches/{batch_id}/results")
        assert [json.loads(line)["line"] for line in first_page.text.splitlines()][:3] == [1, 2, 3]
        assert 'rel="next"' in first_page.headers["link"]

        def get_completed() -> dict[str, Any] | None:
            worker.keep_running()
            batch = get_batch(api, batch_id)
            return batch if batch["status"] == "completed" else None

        completed = wait_for(
            get_completed, timeout_seconds=TIMEOUT_SECONDS, description="the end of the batch"
        )
        good = LINES - len(BAD_LINES)
        assert completed["counts"] == {
            "unfinished": 0,
            "succeeded": good,
            "failed": 0,
            "canceled": 0,
            "rejected": len(BAD_LINES),
        }
        predictions = list_predictions(api, batch_id)
        assert len(predictions) == len({each["proxy"]["batch_line"] for each in predictions}) == good
        assert len({each["proxy"]["replicate_id"] for each in predictions}) == good

        found = api.call("GET", f"/v1/batches/{batch_id}/results")
        assert found.status_code == 302, found.text
        results = [
            json.loads(line) for line in requests.get(found.headers["location"], timeout=60).text.splitlines()
        ]
        assert [result["line"] for result in results] == list(range(1, LINES + 1))
        assert {result["line"]: result["error"] for result in results if result["error"]}.keys() == set(
            BAD_LINES
        )
        assert all(
            result["output"] == f"{marker} {result['line']}"
            for result in results
            if result["line"] not in BAD_LINES
        )
        [request] = receiver.wait_for(bool, "the webhook of the batch")
        assert request.prediction["proxy"]["event"] == "batch.completed"
        assert request.prediction["id"] == batch_id
        assert "webhook-signature" in request.headers

    stranger = make_api()
    for method, path in (("GET", ""), ("GET", "/results"), ("POST", "/cancel")):
        assert stranger.call(method, f"/v1/batches/{batch_id}{path}").status_code == 404
    assert stranger.call("POST", "/v1/batches", {"input_file": body["input_file"]}).status_code == 422
