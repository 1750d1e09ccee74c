"""A receiver that is down for 75 hours gets all deliveries afterwards. The functions' clock is moved."""

import itertools
from typing import Any

from replicate_proxy.webhooks.settings import DEFAULT_SCHEDULE_SECONDS
from tests.integration.api_client import ApiClient
from tests.integration.receiver import run_receiver
from tests.integration.stack_clock import StackClock, run_clock
from tools.local.servers import choose_port
from tools.local.waiting import wait_for

MAX_JITTER = 1.2
ATTEMPT_TIMEOUT_SECONDS = 120.0
POLLS_PER_SWEEP = 10
__all__ = ["run_clock"]


def test_receiver_gets_all_deliveries_after_an_outage_of_75_hours(api: ApiClient, clock: StackClock) -> None:
    port = choose_port()
    url = f"http://127.0.0.1:{port}/hooks"
    job = api.wait_until_finished(api.create("local/lab", {"output": "worth waiting for"}, webhook=url)["id"])

    def list_attempts() -> list[dict[str, Any]]:
        response = api.call("GET", f"/v1/webhooks/attempts?prediction={job['id']}")
        attempts: list[dict[str, Any]] = response.json()["results"]
        return attempts

    def wait_for_attempts(count: int) -> None:
        polls = itertools.count()

        def has_attempts() -> bool | None:
            if next(polls) % POLLS_PER_SWEEP == 0:
                clock.sweep()
            return True if len(list_attempts()) >= count else None

        wait_for(has_attempts, timeout_seconds=ATTEMPT_TIMEOUT_SECONDS, description=f"attempt {count}")

    wait_for_attempts(1)
    for count, delay in enumerate(DEFAULT_SCHEDULE_SECONDS[1:-1], start=2):
        clock.advance(delay * MAX_JITTER)
        wait_for_attempts(count)
    assert all(attempt["status"] is None for attempt in list_attempts()), "the receiver was not down"

    with run_receiver(port=port) as receiver:
        clock.advance(DEFAULT_SCHEDULE_SECONDS[-1] * MAX_JITTER)
        requests = receiver.wait_for(lambda requests: len(requests) >= 2, "output and completed")

    assert [request.prediction["proxy"]["event"] for request in requests] == ["output", "completed"]
    assert {request.prediction["output"] for request in requests} == {"worth waiting for"}
