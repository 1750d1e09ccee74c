"""Every metric is emitted by a run of the local stack, so what operators watch exists.

All steps are taken first, and the test then waits for the metrics, as some of them come with a sweep.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import requests

from replicate_proxy import signing
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.clock import SystemClock
from replicate_proxy.errors import ConflictError
from replicate_proxy.jobs.model import EndReason, Job, JobStatus
from replicate_proxy.observability import Metric
from tests.integration.api_client import ApiClient
from tests.integration.conftest import FOLDER
from tests.integration.models import FLUX, SMALL_IMAGE_INPUT
from tests.integration.receiver import run_receiver
from tests.support.builders import make_job
from tests.support.metrics import Sample, parse_samples
from tools.local.faults import inject_faults
from tools.local.stack import Stack
from tools.local.waiting import wait_for
from tools.simulator.client import SimulatorClient
from tools.simulator.settings import DEFAULT_WEBHOOK_SECRET

NOT_EMITTED_LOCALLY = {
    Metric.CACHE_UNAVAILABLE: "the local AWS has no DAX; tests/unit/replicate_proxy/aws/test_dax.py has",
    Metric.JOBS_DELETED: "comes 25 hours after the end of a job; tests/unit/replicate_proxy/deletion waits",
    Metric.BATCH_FAILED: "the worker of a batch has to fail; tests/unit/replicate_proxy/batches lets it",
    Metric.DELETION_FAILED: "a removal has to fail; tests/unit/replicate_proxy/deletion lets it",
}
TIMEOUT_SECONDS = 240.0
POLL_INTERVAL_SECONDS = 10.0
CATALOG_CACHE_SECONDS = 60.0
# Functions see a new concurrency limit after ten seconds.
LIMITS_CACHE_SECONDS = 11.0
FILE = {"$file": "png", "width": 64, "height": 64}

FLUX_PRO = "black-forest-labs/flux-1.1-pro"

type Create = Callable[..., str]


@pytest.fixture
def create(api: ApiClient, simulator: SimulatorClient) -> Create:
    """create(input, fault, …) installs faults that break only this job, creates it, and returns its ID.

    A fault names a text of the job's input, of the file's name, or of the webhook's URL: its marker.
    """
    markers = iter(f"{api.tenant}-{number}" for number in range(100))

    def create(model_input: dict[str, Any], *faults: dict[str, Any], **fields: Any) -> str:
        marker = next(markers)
        text = json.dumps(model_input).replace("MARKER", marker)
        for fault in faults:
            contains = marker if fault["endpoint"] in {"create", "download"} else api.tenant
            simulator.call_control_api("POST", "faults", {"times": 1, "contains": contains, **fault})
        return str(api.create("local/lab", {**json.loads(text), "marker": marker}, **fields)["id"])

    return create


@pytest.mark.slow
def test_every_metric_is_emitted(
    stack: Stack,
    api: ApiClient,
    simulator: SimulatorClient,
    create: Create,
    make_api: Callable[[], ApiClient],
) -> None:
    started_at = time.time()
    limited = make_api()
    limit_tenant(stack, limited)
    assert api.call("GET", "/v1/models/local/lab").status_code == 200
    cached_at = time.monotonic()
    with run_receiver(500) as receiver, run_receiver(410, 410, 410) as gone:
        succeed_with_image_and_webhook(api, receiver.url)
        disable_endpoint(api, gone.url)
        end_jobs_without_success(api, create)
        # Before the breaker opens and the rate limit is reached, for which jobs would wait instead.
        time.sleep(max(0.0, cached_at + LIMITS_CACHE_SECONDS - time.monotonic()))
        hold_job(limited)
        disturb_creates(create)
        disturb_files(create)
        lose_output(api, simulator, create)
        send_webhooks(stack, api, simulator, create)
        use_breaker(stack)
        use_up_budget(stack, make_api())
        reject_token_of_tenant(stack, api)
        break_authorization(stack, api)
        with broken_message_and_check(stack):
            time.sleep(max(0.0, cached_at + CATALOG_CACHE_SECONDS + 1 - time.monotonic()))
            break_catalog(api, simulator)
            samples = wait_for_metrics(stack, set(Metric) - NOT_EMITTED_LOCALLY.keys(), started_at)

    reasons = read_values(samples, "reason")
    assert set(reasons[Metric.JOB_FAILED]) >= {EndReason.REPORTED, EndReason.NO_CREDIT, EndReason.OUTPUT_LOST}
    assert set(reasons[Metric.JOB_CANCELED]) >= {EndReason.CANCEL_REQUESTED}
    assert set(reasons[Metric.WEBHOOK_REJECTED]) >= {"missing_headers", "forged", "unsigned_url"}
    assert set(read_values(samples, "route")[Metric.API_SECONDS]) >= {
        "POST /v1/predictions",
        "GET /v1/predictions/{id}",
        "POST /webhooks/replicate",
    }


def succeed_with_image_and_webhook(api: ApiClient, webhook: str) -> None:
    """Also repeat the request under its idempotency key."""
    fields = {"webhook": webhook, "webhook_events_filter": ["completed"]}
    headers = {"idempotency-key": api.tenant}
    job = api.create(FLUX, SMALL_IMAGE_INPUT, headers=headers, **fields)
    assert api.create(FLUX, SMALL_IMAGE_INPUT, headers=headers, **fields)["id"] == job["id"]
    assert api.wait_until_finished(job["id"])["status"] == "succeeded"


def disable_endpoint(api: ApiClient, url: str) -> None:
    endpoint = {"url": url, "events": ["completed"]}
    assert api.call("POST", "/v1/webhooks/endpoints", endpoint).status_code == 201
    api.run("local/lab", {"output": "gone"})


def end_jobs_without_success(api: ApiClient, create: Create) -> None:
    create({"status": "failed", "error": "Prediction interrupted; please retry (code: PA)"})
    held = create({"hold": True})
    assert api.call("POST", f"/v1/predictions/{held}/cancel").status_code == 200


def disturb_creates(create: Create) -> None:
    create({"output": 1}, {"endpoint": "create", "kind": "status", "status": 402})
    create({"output": 1}, {"endpoint": "create", "kind": "status", "status": 429, "retry_after": 1})
    create({"output": 1}, {"endpoint": "create", "kind": "status", "status": 401})
    create(
        {"output": 1},
        {"endpoint": "webhook", "kind": "lose", "times": 20},
        {"endpoint": "create", "kind": "reset_after_accept"},
    )


def disturb_files(create: Create) -> None:
    create({"output": {**FILE, "origin": "third-party"}})
    missing = {"endpoint": "download", "kind": "status", "status": 404}
    create({"output": {**FILE, "name": "MARKER.png"}}, missing)
    unavailable = {"endpoint": "download", "kind": "status", "status": 503}
    create({"output": {**FILE, "name": "MARKER.png"}}, unavailable)


def lose_output(api: ApiClient, simulator: SimulatorClient, create: Create) -> None:
    """The prediction succeeds, no webhook arrives, and Replicate removes the output before the sweep asks."""
    job_id = create({"output": 1}, {"endpoint": "webhook", "kind": "lose", "times": 20})
    prediction_id = wait_for_prediction(simulator, job_id)["id"]
    wait_for(
        lambda: simulator.get_timeline(prediction_id).get("completed_at"),
        timeout_seconds=30,
        description="the end of the prediction",
    )
    simulator.call_control_api("POST", f"predictions/{prediction_id}/expire")


def send_webhooks(stack: Stack, api: ApiClient, simulator: SimulatorClient, create: Create) -> None:
    """Send webhooks that are forged, unsigned, duplicate, or have an unknown status."""
    job_id = create({"output": 1, "hold": True})
    url = wait_for_prediction(simulator, job_id)["webhook"]
    origin = url.partition("?")[0]
    prediction = {"id": "p", "status": "evaporated"}
    assert requests.post(origin, json=prediction, timeout=30).status_code == 400
    assert post_signed(url, prediction, secret="whsec_b3RoZXJvdGhlcm90aGVyb3RoZXI=") == 401
    assert post_signed(origin, prediction) == 401
    assert post_signed(url, prediction) == 200
    for _ in range(2):
        assert (
            post_signed(url, {"id": simulator.find_predictions(job_id)[0]["id"], "status": "starting"}) == 200
        )
    assert api.call("POST", f"/v1/predictions/{job_id}/cancel").status_code == 200


def use_breaker(stack: Stack) -> None:
    operator = ApiClient(stack.api_url, stack.admin_key)
    assert operator.call("POST", "/admin/breaker/trip", {"seconds": 1}).status_code == 200
    assert operator.call("POST", "/admin/breaker/reset", {}).status_code == 200


def use_up_budget(stack: Stack, api: ApiClient) -> None:
    """Give a tenant a budget for one prediction of $0.04."""
    budget = {"day_usd": "0.045"}
    operator = ApiClient(stack.api_url, stack.admin_key)
    assert operator.call("PUT", f"/admin/tenants/{api.tenant}/budget", budget).status_code == 200
    api.create(FLUX_PRO, SMALL_IMAGE_INPUT)
    body = {"version": FLUX_PRO, "input": SMALL_IMAGE_INPUT}
    assert api.call("POST", "/v1/predictions", body).status_code == 402


@contextmanager
def broken_message_and_check(stack: Stack) -> Iterator[None]:
    """Send a message that is no report, and store a running job without a prediction; remove both."""
    sqs, queue_url = stack.get_client("sqs"), stack.outputs["TrackQueueUrl"]
    store = DynamoJobStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"])
    now = SystemClock().now()
    job = make_job(JobStatus.PROCESSING, replicate_id=None, next_check_at=now, created_at=now)
    sqs.send_message(QueueUrl=queue_url, MessageBody="{}")
    store.create(job)
    try:
        yield
    finally:
        sqs.purge_queue(QueueUrl=queue_url)
        wait_for(
            lambda: end_job(store, job),
            timeout_seconds=30,
            description="the end of the job without prediction",
        )


def end_job(store: DynamoJobStore, job: Job) -> Job | None:
    """Return the ended job, or None if the sweep changed it meanwhile."""
    current = store.get(job.tenant, job.id)
    assert current is not None
    with suppress(ConflictError):
        return store.save(
            replace(current, status=JobStatus.FAILED, error="ended by test", next_check_at=None)
        )
    return None


def limit_tenant(stack: Stack, api: ApiClient) -> None:
    operator = ApiClient(stack.api_url, stack.admin_key)
    path = f"/admin/tenants/{api.tenant}/concurrency"
    assert operator.call("PUT", path, {"max_concurrency": 1}).status_code == 200


def hold_job(api: ApiClient) -> None:
    """Run one prediction of a tenant that may run one at a time, and let another wait for it."""
    job_ids = [api.create("local/lab", {"hold": True})["id"] for _ in range(2)]
    wait_for(
        lambda: "concurrency_limit" in map(read_waiting_reason, map(api.get, job_ids)),
        timeout_seconds=60,
        description="the prediction that waits",
    )
    for job_id in job_ids:
        assert api.call("POST", f"/v1/predictions/{job_id}/cancel").status_code == 200


def read_waiting_reason(prediction: dict[str, Any]) -> str | None:
    reason: str | None = prediction["proxy"].get("waiting", {}).get("reason")
    return reason


def reject_token_of_tenant(stack: Stack, api: ApiClient) -> None:
    operator = ApiClient(stack.api_url, stack.admin_key)
    path = f"/admin/tenants/{api.tenant}/replicate-token"
    assert operator.call("PUT", path, {"token": "r8_unknown"}).status_code == 422


def break_authorization(stack: Stack, api: ApiClient) -> None:
    """Make DynamoDB fail for the authorizer: a key that it has read stays valid, others get 503."""
    unknown = ApiClient(api.url, f"rp_{'a' * 12}_{'A' * 43}")
    # API Gateway caches policies by the text of the header, so that each spelling reaches the authorizer.
    spellings = ({"authorization": f"{scheme} {api.key}"} for scheme in ("token", "TOKEN", "Token", "bearer"))
    assert api.call("GET", "/v1/predictions", headers=next(spellings)).status_code == 200
    with authorizer_without_table(stack):
        for headers in spellings:
            # 503 if another process answers, which has not read the key.
            assert api.call("GET", "/v1/predictions", headers=headers).status_code in {200, 503}
        # Last, since the emulator ends a process that raises.
        assert unknown.call("GET", "/v1/predictions").status_code == 503


def authorizer_without_table(stack: Stack) -> AbstractContextManager[None]:
    others = [name for short, name in stack.function_names.items() if short != "authorize"]
    log = FOLDER.faults_file.with_suffix(".jsonl")
    return inject_faults(FOLDER, log, aws_rejected={"dynamodb": 1}, aws_exempt_functions=others)


def break_catalog(api: ApiClient, simulator: SimulatorClient) -> None:
    simulator.inject_fault("model", "status", status=503, times=20, contains="local/lab")
    assert api.call("GET", "/v1/models/local/lab").status_code == 200


def wait_for_prediction(simulator: SimulatorClient, job_id: str) -> dict[str, Any]:
    predictions: list[dict[str, Any]] = wait_for(
        lambda: simulator.find_predictions(job_id) or None, timeout_seconds=60, description="the prediction"
    )
    return predictions[0]


def post_signed(url: str, prediction: dict[str, Any], *, secret: str = DEFAULT_WEBHOOK_SECRET) -> int:
    body, timestamp = json.dumps(prediction).encode(), int(time.time())
    message_id = f"msg_{time.monotonic_ns()}"
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signing.sign_webhook([secret], message_id, timestamp, body),
    }
    return requests.post(url, data=body, headers=headers, timeout=30).status_code


def wait_for_metrics(stack: Stack, expected: set[Metric], started_at: float) -> list[Sample]:
    """Return the samples in the logs once every metric is there."""
    samples: list[Sample] = []
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        samples = list(read_samples(stack, started_at))
        if expected <= {sample.metric for sample in samples}:
            return samples
        time.sleep(POLL_INTERVAL_SECONDS)
    missing = expected - {sample.metric for sample in samples}
    raise AssertionError(f"not emitted: {sorted(missing)}")


def read_samples(stack: Stack, started_at: float) -> Iterator[Sample]:
    logs = stack.get_client("logs")
    start = int(started_at * 1000)
    for name in stack.function_names.values():
        group = f"/aws/lambda/{name}"
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=start):
            yield from parse_samples(
                line for event in page["events"] for line in event["message"].splitlines()
            )


def read_values(samples: list[Sample], name: str) -> dict[str, list[str]]:
    """Return the values of the dimension by metric."""
    values: dict[str, list[str]] = {}
    for sample in samples:
        if name in dict(sample.dimensions):
            values.setdefault(sample.metric, []).append(dict(sample.dimensions)[name])
    return values
