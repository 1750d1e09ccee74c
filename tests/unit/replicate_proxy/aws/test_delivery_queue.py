"""The queue of deliveries is fair between tenants, however many receivers one of them names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from replicate_proxy.aws.queues import SqsDeliveryQueue
from replicate_proxy.webhooks.commands import DeliverCommand
from tests.support.webhook_builders import make_delivery
from tools.simulation.aws import InMemoryAws

# As many as the deliver function sends at a time.
SLOTS = 50


class DeliveryQueue:
    """The queue, with messages that are received by hand and handled for some seconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        aws = InMemoryAws(lambda: self.now)
        self._client = aws.client("sqs")
        self._url = aws.sqs.create_queue("notify", visibility_seconds=360)
        self._queue = SqsDeliveryQueue(self._client, self._url)

    def send(self, *commands: DeliverCommand) -> None:
        self._queue.send(commands)

    def receive(self, count: int) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for _ in range(count):
            response = self._client.receive_message(QueueUrl=self._url, AttributeNames=["MessageGroupId"])
            messages += response.get("Messages", [])
        return messages

    def receive_tenant(self) -> str:
        (message,) = self.receive(1)
        return str(json.loads(message["Body"])["tenant"])


def make_commands(tenant: str, receivers: int, *, count: int, to_endpoints: bool) -> list[DeliverCommand]:
    return [
        DeliverCommand.for_delivery(
            make_delivery(
                tenant=tenant,
                sequence=number,
                **(
                    {"target": f"ep_{number % receivers:026}", "url": None}
                    if to_endpoints
                    else {"url": f"https://host-{number % receivers}.example/hook"}
                ),
            )
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("receivers", "to_endpoints"), [(1, False), (200, False), (1, True), (20, True)], ids=str
)
def test_tenant_does_not_wait_for_another_whose_receivers_hang(receivers: int, to_endpoints: bool) -> None:
    queue = DeliveryQueue()
    queue.send(*make_commands("acme", receivers, count=200, to_endpoints=to_endpoints))
    assert len(queue.receive(SLOTS)) == SLOTS
    queue.now += 5
    queue.send(*make_commands("globex", 1, count=1, to_endpoints=False))

    assert queue.receive_tenant() == "globex"


def test_receivers_of_a_tenant_are_in_several_groups() -> None:
    queue = DeliveryQueue()
    queue.send(*make_commands("acme", 40, count=40, to_endpoints=False))

    groups = {message["Attributes"]["MessageGroupId"] for message in queue.receive(40)}

    assert groups == {"acme/0", "acme/1", "acme/2", "acme/3"}
