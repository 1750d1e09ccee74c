"""The simulation's SQS gives the responses and errors of moto; where moto is wrong, those of AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError, ParamValidationError
from moto import mock_aws

from replicate_proxy.aws.dead_letter_queues import SqsQueueClient
from tests.support.aws_pair import ClientPair, outcome
from tools.simulation.aws import InMemoryAws, NoAnomalies
from tools.simulation.aws.queue_names import get_queue_arn, get_queue_url
from tools.simulation.aws.sqs_validation import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.simulation.aws import Message, Queue

NAME = "queue"
DEAD_LETTERS = "dead-letters"


class Pair(ClientPair):
    """Both clients, each with the URL of its queue."""

    def __init__(self) -> None:
        aws = InMemoryAws(lambda: 1_800_000_000.0)
        super().__init__(aws.client("sqs"), boto3.client("sqs"))
        aws.sqs.create_queue(DEAD_LETTERS)
        self.simulated_url = aws.sqs.create_queue(
            NAME, visibility_seconds=60, dead_letter_queue=DEAD_LETTERS, max_receive_count=2
        )
        self.moto.create_queue(QueueName=DEAD_LETTERS)
        policy = f'{{"deadLetterTargetArn":"{get_queue_arn(DEAD_LETTERS)}","maxReceiveCount":2}}'
        attributes = {
            "VisibilityTimeout": "60",
            "RedrivePolicy": policy.replace("111122223333", "123456789012"),
        }
        self.moto_url = self.moto.create_queue(QueueName=NAME, Attributes=attributes)["QueueUrl"]

    def call_queue(self, operation: str, **request: Any) -> Any:
        return self.call(
            operation, {"QueueUrl": self.simulated_url, **request}, {"QueueUrl": self.moto_url, **request}
        )


@pytest.fixture
def pair() -> Iterator[Pair]:
    with mock_aws():
        yield Pair()


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("send_message", {"MessageBody": "body ü🙂", "MessageGroupId": "tenant"}),
        ("send_message", {"MessageBody": "body", "DelaySeconds": 5}),
        ("send_message", {"MessageBody": "body", "DelaySeconds": 901}),
        ("send_message", {"MessageBody": "y" * MAX_MESSAGE_BYTES}),
        (
            "send_message_batch",
            {"Entries": [{"Id": str(number), "MessageBody": f"body {number}"} for number in range(3)]},
        ),
        (
            "send_message_batch",
            {"Entries": [{"Id": "1", "MessageBody": "a"}, {"Id": "1", "MessageBody": "b"}]},
        ),
        (
            "send_message_batch",
            {"Entries": [{"Id": str(number), "MessageBody": "body"} for number in range(11)]},
        ),
        ("send_message_batch", {"Entries": [{"Id": "not an ID", "MessageBody": "a"}]}),
        ("receive_message", {}),
        ("change_message_visibility", {"ReceiptHandle": "no handle", "VisibilityTimeout": 1}),
        ("delete_message", {"ReceiptHandle": "no handle"}),
    ],
)
def test_operation_has_the_result_of_moto(pair: Pair, operation: str, request_: dict[str, Any]) -> None:
    pair.call_queue(operation, **request_)


@pytest.mark.parametrize("operation", ["send_message", "receive_message", "get_queue_attributes"])
def test_missing_queue_has_the_error_of_moto(pair: Pair, operation: str) -> None:
    body = {"MessageBody": "body"} if operation == "send_message" else {}
    url = pair.moto_url.replace(NAME, "missing")
    pair.call(operation, {"QueueUrl": get_queue_url("missing"), **body}, {"QueueUrl": url, **body})


def test_message_is_received_as_from_moto(pair: Pair) -> None:
    attributes = {"KIND": {"DataType": "String", "StringValue": "test"}}
    for client, url in ((pair.simulated, pair.simulated_url), (pair.moto, pair.moto_url)):
        client.send_message(
            QueueUrl=url, MessageBody="body", MessageGroupId="acme", MessageAttributes=attributes
        )
    (received,), (expected,) = (
        client.receive_message(QueueUrl=url, MessageAttributeNames=["All"], AttributeNames=["All"])[
            "Messages"
        ]
        for client, url in ((pair.simulated, pair.simulated_url), (pair.moto, pair.moto_url))
    )
    assert received["MessageAttributes"] == expected["MessageAttributes"]
    assert received["Attributes"].keys() == expected["Attributes"].keys()
    for name in ("Body", "MD5OfBody"):
        assert received[name] == expected[name]
    for name in ("ApproximateReceiveCount", "MessageGroupId"):
        assert received["Attributes"][name] == expected["Attributes"][name]


def test_queue_attributes_have_the_values_of_moto(pair: Pair) -> None:
    for client, url in ((pair.simulated, pair.simulated_url), (pair.moto, pair.moto_url)):
        for body in ("a", "b", "c"):
            client.send_message(QueueUrl=url, MessageBody=body)
        client.send_message(QueueUrl=url, MessageBody="d", DelaySeconds=9)
        client.receive_message(QueueUrl=url)
    names = ("", "NotVisible", "Delayed")
    pair.call_queue(
        "get_queue_attributes", AttributeNames=[f"ApproximateNumberOfMessages{name}" for name in names]
    )


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        # API reference, SendMessage, MessageBody and MessageGroupId; moto has other limits or none.
        ({"MessageBody": "bad \x00 body"}, "InvalidMessageContents"),
        ({"MessageBody": "y" * (MAX_MESSAGE_BYTES + 1)}, "InvalidParameterValue"),
        ({"MessageBody": ""}, "MissingParameter"),
        ({"MessageBody": "body", "MessageGroupId": "no spaces"}, "InvalidParameterValue"),
        ({"MessageBody": "body", "MessageGroupId": "g" * 129}, "InvalidParameterValue"),
    ],
)
def test_bad_message_is_refused_as_by_aws(pair: Pair, request_: dict[str, Any], code: str) -> None:
    result = outcome(pair.simulated, "send_message", {"QueueUrl": pair.simulated_url, **request_})
    assert (result["code"], result["status"]) == (code, 400)


@pytest.mark.parametrize(
    "options", [{"MaxNumberOfMessages": 11}, {"WaitTimeSeconds": 21}, {"VisibilityTimeout": 43_201}]
)
def test_option_out_of_range_is_refused_with_the_code_of_moto(pair: Pair, options: dict[str, int]) -> None:
    """moto escapes its messages twice."""
    for client, url in ((pair.simulated, pair.simulated_url), (pair.moto, pair.moto_url)):
        assert (
            outcome(client, "receive_message", {"QueueUrl": url, **options})["code"]
            == "InvalidParameterValue"
        )


def test_batch_reports_each_bad_entry_by_itself(pair: Pair) -> None:
    """API reference, SendMessageBatch: the result of each message is reported individually."""
    entries = [{"Id": "good", "MessageBody": "a"}, {"Id": "bad", "MessageBody": "b", "DelaySeconds": 901}]
    response = pair.simulated.send_message_batch(QueueUrl=pair.simulated_url, Entries=entries)
    assert [entry["Id"] for entry in response["Successful"]] == ["good"]
    (failed,) = response["Failed"]
    assert (failed["Id"], failed["Code"], failed["SenderFault"]) == ("bad", "InvalidParameterValue", True)


def test_batch_is_limited_to_the_size_of_one_message(pair: Pair) -> None:
    """API reference, SendMessageBatch: the total payload is at most 1 MiB."""
    entries = [{"Id": str(number), "MessageBody": "y" * (MAX_MESSAGE_BYTES // 2 + 1)} for number in range(2)]
    result = outcome(
        pair.simulated, "send_message_batch", {"QueueUrl": pair.simulated_url, "Entries": entries}
    )
    assert result["code"] == "AWS.SimpleQueueService.BatchRequestTooLong"


def test_parameters_that_are_missing_or_not_handled_are_refused(pair: Pair) -> None:
    with pytest.raises(ParamValidationError):
        pair.simulated.send_message(QueueUrl=pair.simulated_url)
    for options in (
        {"MessageDeduplicationId": "d"},
        {"MessageAttributes": {"n": {"DataType": "Binary", "BinaryValue": b"x"}}},
    ):
        with pytest.raises(NotImplementedError):
            pair.simulated.send_message(QueueUrl=pair.simulated_url, MessageBody="b", **options)
    with pytest.raises(NotImplementedError):
        pair.simulated.purge_queue(QueueUrl=pair.simulated_url)


class Twice(NoAnomalies):
    def queue_delivery(self, queue: str) -> int:
        return 2


class Simulated:
    """A queue with a visibility timeout of 60 s at a time that the test sets."""

    def __init__(self, choices: NoAnomalies | None = None) -> None:
        self.now = 1_800_000_000.0
        self.start = self.now
        self.aws = InMemoryAws(lambda: self.now, choices=choices)
        self.client: Any = self.aws.client("sqs")
        self.aws.sqs.create_queue(DEAD_LETTERS)
        self.url = self.aws.sqs.create_queue(
            NAME,
            visibility_seconds=60,
            retention_seconds=3600,
            dead_letter_queue=DEAD_LETTERS,
            max_receive_count=2,
        )

    def send(self, *bodies: str, **options: Any) -> None:
        for body in bodies:
            self.client.send_message(QueueUrl=self.url, MessageBody=body, **options)

    def receive(self, name: str = NAME, **options: Any) -> list[Any]:
        response = self.client.receive_message(
            **{
                "QueueUrl": get_queue_url(name),
                "MaxNumberOfMessages": 10,
                "AttributeNames": ["All"],
                **options,
            }
        )
        return list(response.get("Messages", []))

    def receive_bodies(self, **options: Any) -> list[str]:
        return [message["Body"] for message in self.receive(**options)]


@pytest.fixture
def simulated() -> Simulated:
    return Simulated()


class TestVisibility:
    def test_received_message_is_hidden_until_its_timeout(self, simulated: Simulated) -> None:
        simulated.send("a")
        (first,) = simulated.receive()
        assert simulated.receive() == []
        assert simulated.aws.sqs.next_due() == simulated.now + 60
        simulated.now += 60
        (second,) = simulated.receive()
        assert second["MessageId"] == first["MessageId"]
        assert second["ReceiptHandle"] != first["ReceiptHandle"]
        assert second["Attributes"]["ApproximateReceiveCount"] == "2"
        assert second["Attributes"]["ApproximateFirstReceiveTimestamp"] == str(int(simulated.start * 1000))

    def test_timeout_of_the_request_takes_precedence(self, simulated: Simulated) -> None:
        simulated.send("a")
        simulated.receive(VisibilityTimeout=5)
        simulated.now += 5
        assert simulated.receive_bodies() == ["a"]

    def test_message_received_without_timeout_stays_visible(self, simulated: Simulated) -> None:
        simulated.send("a", "b")
        assert sorted(simulated.receive_bodies(VisibilityTimeout=0)) == ["a", "b"]
        assert sorted(simulated.receive_bodies()) == ["a", "b"]

    def test_delayed_message_is_visible_after_its_delay(self, simulated: Simulated) -> None:
        simulated.send("a", DelaySeconds=10)
        simulated.send("b")
        assert simulated.receive_bodies() == ["b"]
        assert simulated.aws.sqs.next_due(NAME) == simulated.now + 10
        simulated.now += 10
        assert simulated.receive_bodies() == ["a"]

    def test_changed_timeout_counts_from_the_change(self, simulated: Simulated) -> None:
        simulated.send("a")
        (message,) = simulated.receive()
        simulated.now += 50
        handle = message["ReceiptHandle"]
        simulated.client.change_message_visibility(
            QueueUrl=simulated.url, ReceiptHandle=handle, VisibilityTimeout=20
        )
        simulated.now += 15
        assert simulated.receive() == []
        simulated.now += 5
        assert simulated.receive_bodies() == ["a"]

    def test_batch_of_changed_timeouts_makes_messages_visible_at_once(self, simulated: Simulated) -> None:
        simulated.send("a", "b")
        client = SqsQueueClient(simulated.client)
        messages = client.receive(simulated.url, limit=10, visibility_timeout_seconds=300)
        assert client.get_depth(simulated.url).in_flight == 2
        client.release(simulated.url, messages)
        assert sorted(simulated.receive_bodies()) == ["a", "b"]

    def test_timeout_of_visible_message_cannot_be_changed(self, simulated: Simulated) -> None:
        """API reference, ChangeMessageVisibility: MessageNotInflight."""
        simulated.send("a")
        (message,) = simulated.receive()
        simulated.now += 60
        with pytest.raises(ClientError, match="MessageNotInflight"):
            simulated.client.change_message_visibility(
                QueueUrl=simulated.url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=1
            )


class TestReceipts:
    def test_message_is_deleted_by_its_last_receipt_only(self, simulated: Simulated) -> None:
        """API reference, DeleteMessage: with an old receipt handle the message might not be deleted."""
        simulated.send("a")
        (first,) = simulated.receive()
        simulated.now += 60
        (second,) = simulated.receive()
        simulated.client.delete_message(QueueUrl=simulated.url, ReceiptHandle=first["ReceiptHandle"])
        assert simulated.aws.sqs.queues[NAME].in_flight_count == 1
        simulated.client.delete_message(QueueUrl=simulated.url, ReceiptHandle=second["ReceiptHandle"])
        assert simulated.aws.sqs.queues[NAME].messages() == []
        simulated.client.delete_message(QueueUrl=simulated.url, ReceiptHandle=second["ReceiptHandle"])

    def test_message_is_deleted_after_its_timeout(self, simulated: Simulated) -> None:
        simulated.send("a")
        (message,) = simulated.receive()
        simulated.now += 61
        simulated.client.delete_message_batch(
            QueueUrl=simulated.url, Entries=[{"Id": "1", "ReceiptHandle": message["ReceiptHandle"]}]
        )
        assert simulated.receive() == []


class TestDeadLetters:
    def receive_twice(self, simulated: Simulated) -> None:
        for _ in range(2):
            assert len(simulated.receive()) == 1
            simulated.now += 60

    def test_message_moves_after_its_last_receive(self, simulated: Simulated) -> None:
        simulated.send("a", MessageGroupId="acme")
        self.receive_twice(simulated)
        assert simulated.receive() == []
        (message,) = simulated.receive(DEAD_LETTERS)
        attributes = message["Attributes"]
        assert (message["Body"], attributes["MessageGroupId"]) == ("a", "acme")
        assert attributes["SentTimestamp"] == str(int(simulated.start * 1000))
        assert attributes["DeadLetterQueueSourceArn"] == get_queue_arn(NAME)

    def test_expired_message_disappears(self, simulated: Simulated) -> None:
        simulated.send("a")
        simulated.now += 3600
        assert simulated.receive() == []
        assert simulated.receive(DEAD_LETTERS) == []


def test_duplicate_is_a_second_copy_with_its_own_receipt() -> None:
    simulated = Simulated(Twice())
    simulated.send("a")
    first, second = simulated.receive()
    assert first["MessageId"] == second["MessageId"]
    simulated.client.delete_message(QueueUrl=simulated.url, ReceiptHandle=first["ReceiptHandle"])
    simulated.now += 60
    assert simulated.receive_bodies() == ["a"]


class TestOrder:
    def test_oldest_message_comes_first(self, simulated: Simulated) -> None:
        for body in "abc":
            simulated.send(body)
            simulated.now += 1
        assert simulated.receive_bodies() == ["a", "b", "c"]

    def test_quiet_group_is_preferred_to_one_with_many_in_flight(self, simulated: Simulated) -> None:
        """Amazon SQS developer guide, "Amazon SQS fair queues"."""
        simulated.send(*(f"noisy {number}" for number in range(8)), MessageGroupId="noisy")
        simulated.receive(MaxNumberOfMessages=4)
        simulated.now += 1
        simulated.send("quiet", MessageGroupId="quiet")
        assert simulated.receive_bodies(MaxNumberOfMessages=2) == ["quiet", "noisy 4"]

    def test_order_is_decided_by_the_injected_function(self, simulated: Simulated) -> None:
        def choose_last(queue: Queue, _now: float) -> Message:
            return queue.visible()[-1]

        simulated.aws.sqs.delivery_order = choose_last
        simulated.send("a", "b", "c")
        assert simulated.receive_bodies() == ["c", "b", "a"]
