"""A batch of the jobs table's stream that notify failed to process is processed after its redrive."""

import json

from proxyctl.client import AdminClient
from proxyctl.redrive import Redriver
from tests.integration.api_client import ApiClient
from tests.integration.receiver import run_receiver
from tests.integration.stream_dead_letters import build_stream_dead_letter
from tools.local.stack import Stack


def test_redriven_dead_letter_replays_the_records_of_the_stream(stack: Stack, api: ApiClient) -> None:
    job = api.run("local/lab", {"output": "replayed"})
    with run_receiver() as receiver:
        # Created after the end of the job, the endpoint gets the event only if the stream is read again.
        endpoint = {"url": receiver.url, "events": ["completed"]}
        response = api.call("POST", "/v1/webhooks/endpoints", endpoint)
        assert response.status_code == 201, response.text
        stack.get_client("sqs").send_message(
            QueueUrl=stack.outputs["NotifyStreamDeadLetterQueueUrl"],
            MessageBody=json.dumps(build_stream_dead_letter(stack, job["id"])),
        )
        redriver = Redriver(AdminClient(stack.api_url, stack.admin_key))
        assert redriver.redrive_queue("notify-stream", rate_per_second=10).handled == 1
        [request] = receiver.wait_for(lambda requests: len(requests) == 1, "the webhook")

    assert (request.prediction["id"], request.prediction["status"]) == (job["id"], "succeeded")
    assert redriver.count_messages()["notify-stream"] == 0
