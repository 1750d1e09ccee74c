"""Dead letters through the admin API, and the SQS adapter behind it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from replicate_proxy.aws.dead_letter_queues import SqsQueueClient
from replicate_proxy.operations.dead_letters import DeadLetter, DeadLetterFilter, parse_subject
from tests.support.clock import NOW

if TYPE_CHECKING:
    from tests.support.admin_api import AdminApi

DEAD_LETTER_QUEUE, SOURCE_QUEUE = "q/dispatch-dead", "q/dispatch"


def make_message(number: int, *, tenant: str = "acme", **changes: Any) -> DeadLetter:
    body = json.dumps({"kind": "submit", "tenant": tenant, "job_id": f"job{number}", "secret": "output"})
    fields = {"body": body, "message_group": tenant, **changes}
    return DeadLetter(id=f"m{number}", receipt_handle=f"r{number}", sent_at=NOW, receive_count=5, **fields)


def test_list_queues_returns_depths(admin_api: AdminApi) -> None:
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = [make_message(1), make_message(2)]
    _, body = admin_api.call("GET", "queues")
    assert [(queue["name"], queue["dead_letters"]["waiting"]) for queue in body["results"]] == [
        ("dispatch", 2),
        ("bus", 0),
        ("sweep", 0),
    ]


def test_peek_leaves_messages_and_shows_bodies_only_on_request(admin_api: AdminApi) -> None:
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = [make_message(number) for number in range(15)]
    _, body = admin_api.call("GET", "queues/dispatch/dead-letters", limit="12")
    assert len(body["results"]) == 12
    assert body["results"][0]["job_id"] == "job0"
    assert "output" not in str(body)
    assert admin_api.queues.hidden_ids == set()
    assert len(admin_api.queues.messages[DEAD_LETTER_QUEUE]) == 15
    _, body = admin_api.call("GET", "queues/dispatch/dead-letters", limit="1", body="true")
    assert body["results"][0]["body"]["secret"] == "output"


def test_peek_leaves_out_bodies_that_do_not_fit_into_a_response(admin_api: AdminApi) -> None:
    # As large as an event can be, with quotes that are escaped twice.
    body = json.dumps({"output": ['"'] * 30_000})
    messages = [make_message(number, body=body) for number in range(100)]
    messages[99] = make_message(99)
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = messages
    status, peeked = admin_api.call("GET", "queues/dispatch/dead-letters", limit="100", body="true")
    results = peeked["results"]
    assert (status, len(results)) == (200, 100)
    omitted = [result for result in results if result.get("omitted") == ["body"]]
    assert 0 < len(omitted) < 99
    assert {result["body"] for result in omitted} == {None}
    assert {result["bytes"] for result in omitted} == {len(body)}
    # A small one after them is shown.
    assert results[99]["body"]["secret"] == "output"


def test_peek_waits_only_for_messages_that_the_queue_has(admin_api: AdminApi) -> None:
    admin_api.call("GET", "queues/dispatch/dead-letters")
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = [make_message(number) for number in range(12)]
    admin_api.call("GET", "queues/dispatch/dead-letters", limit="20")

    # One that finds nothing, two that find ten and two messages, and one after all that are expected.
    assert admin_api.queues.waits == [False, True, True, False]


@pytest.mark.parametrize("limit", ["00001" + "0" * 5_000, "00001000", "0", "101", "x", "-1", "999999999999"])
def test_peek_rejects_limit_out_of_bounds(admin_api: AdminApi, limit: str) -> None:
    assert admin_api.call("GET", "queues/dispatch/dead-letters", limit=limit)[0] == 400


def test_redrive_without_filter_moves_all_messages_unchanged(admin_api: AdminApi) -> None:
    messages = [make_message(number) for number in range(25)]
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = list(messages)
    assert admin_api.call("POST", "queues/dispatch/redrive", {}) == (
        200,
        {"handled": 25, "skipped": 0, "done": True},
    )
    assert admin_api.queues.messages == {DEAD_LETTER_QUEUE: [], SOURCE_QUEUE: messages}


@pytest.mark.parametrize(
    ("body", "moved_ids"),
    [
        ({"tenant": "globex"}, ["m3"]),
        ({"job_id": "job2"}, ["m2"]),
        ({"message_ids": ["m1", "m2"]}, ["m1", "m2"]),
        ({"tenant": "acme", "job_id": "job3"}, []),
        ({"limit": 2}, ["m1", "m2"]),
    ],
)
def test_redrive_moves_matching_messages_and_releases_others(
    admin_api: AdminApi, body: Any, moved_ids: list[str]
) -> None:
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = [
        make_message(1),
        make_message(2),
        make_message(3, tenant="globex"),
    ]
    _, result = admin_api.call("POST", "queues/dispatch/redrive", body)
    assert result["handled"] == len(moved_ids)
    assert [message.id for message in admin_api.queues.messages.get(SOURCE_QUEUE, [])] == moved_ids
    assert admin_api.queues.hidden_ids == set()


def test_second_redrive_handles_nothing(admin_api: AdminApi) -> None:
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = [make_message(1)]
    admin_api.call("POST", "queues/dispatch/redrive", {})
    _, result = admin_api.call("POST", "queues/dispatch/redrive", {})
    assert result == {"handled": 0, "skipped": 0, "done": True}


def test_redrive_keeps_rate_and_stops_when_time_is_up(admin_api: AdminApi) -> None:
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = [make_message(number) for number in range(100)]
    _, result = admin_api.call("POST", "queues/dispatch/redrive", {"rate_per_second": 2})
    assert result["done"] is False
    assert result["handled"] / admin_api.slept_seconds == pytest.approx(2)
    assert admin_api.slept_seconds < 29
    assert admin_api.queues.hidden_ids == set()


@pytest.mark.parametrize(("rate", "handled", "seconds"), [(0.1, 2, 20), (0.07, 1, 14.3), (1e-300, 1, 20)])
def test_slow_redrive_stops_when_time_is_up_and_releases_the_rest(
    admin_api: AdminApi, rate: float, handled: int, seconds: float
) -> None:
    messages = [make_message(number) for number in range(30)]
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = list(messages)
    started_at = admin_api.clock.now()
    _, result = admin_api.call("POST", "queues/dispatch/redrive", {"rate_per_second": rate})
    assert result == {"handled": handled, "skipped": 0, "done": False}
    assert (admin_api.clock.now() - started_at).total_seconds() == pytest.approx(seconds, abs=0.1)
    assert admin_api.queues.hidden_ids == set()
    assert admin_api.queues.messages[DEAD_LETTER_QUEUE] == messages[handled:]


def test_redrive_keeps_message_when_send_fails(admin_api: AdminApi) -> None:
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = [make_message(1)]
    admin_api.queues.fails_to_send = True
    assert admin_api.call("POST", "queues/dispatch/redrive", {})[0] == 500
    assert [message.id for message in admin_api.queues.messages[DEAD_LETTER_QUEUE]] == ["m1"]


def test_redrive_of_bus_sends_events_to_their_targets(admin_api: AdminApi) -> None:
    arn = "arn:aws:sqs:eu-central-1:1:"
    messages = [
        make_message(1, target_arn=f"{arn}Harvest"),
        make_message(2, target_arn=f"{arn}Track"),
        make_message(3, target_arn=f"{arn}Unknown"),
        make_message(4),
    ]
    admin_api.queues.messages["q/bus-dead"] = list(messages)
    _, result = admin_api.call("POST", "queues/bus/redrive", {})
    assert result == {"handled": 2, "skipped": 2, "done": True}
    assert admin_api.queues.messages == {
        "q/bus-dead": messages[2:],
        "q/harvest": [messages[0]],
        "q/track": [messages[1]],
    }


def test_redrive_of_queue_without_source_returns_its_note(admin_api: AdminApi) -> None:
    status, problem = admin_api.call("POST", "queues/sweep/redrive", {})
    assert (status, problem["detail"]) == (409, "The next run does the same work")


def test_discard_deletes_only_named_messages(admin_api: AdminApi) -> None:
    admin_api.queues.messages[DEAD_LETTER_QUEUE] = [make_message(1), make_message(2)]
    assert admin_api.call("POST", "queues/dispatch/discard", {})[0] == 422
    assert admin_api.call("POST", "queues/dispatch/discard", {"message_ids": []})[0] == 422
    assert admin_api.call("POST", "queues/dispatch/discard", {"message_ids": ["m2"]})[1]["handled"] == 1
    assert [message.id for message in admin_api.queues.messages[DEAD_LETTER_QUEUE]] == ["m1"]


@pytest.mark.parametrize("path", ["queues/x/redrive", "queues/x/discard"])
def test_unknown_queue_is_not_found(admin_api: AdminApi, path: str) -> None:
    assert admin_api.call("POST", path, {"tenant": "acme"})[0] == 404


def test_subject_of_bus_event_is_in_its_data() -> None:
    event = {"detail": {"metadata": {}, "data": {"tenant": "acme", "job_id": "j", "prediction": {}}}}
    assert parse_subject(json.dumps(event)) == {"tenant": "acme", "job_id": "j"}


@given(st.text(max_size=50) | st.recursive(st.none(), st.lists).map(json.dumps))
def test_body_of_any_other_form_has_no_subject(body: str) -> None:
    assert parse_subject(body) == {}
    assert DeadLetterFilter().matches(make_message(1, body=body))
    assert not DeadLetterFilter(tenant="acme").matches(make_message(1, body=body))


@pytest.fixture
def sqs() -> Any:
    """The boto3 client, the adapter on it, and the URL of a queue."""
    with mock_aws():
        client = boto3.client("sqs")
        yield client, SqsQueueClient(client), client.create_queue(QueueName="dead")["QueueUrl"]


def test_sqs_receive_returns_attributes_of_message(sqs: Any) -> None:
    client, adapter, url = sqs
    attributes = {
        "TARGET_ARN": {"DataType": "String", "StringValue": "arn:aws:sqs:x:1:Harvest"},
        "ERROR_MESSAGE": {"DataType": "String", "StringValue": "no permission"},
    }
    client.send_message(QueueUrl=url, MessageBody="{}", MessageAttributes=attributes)
    (message,) = adapter.receive(url, limit=10, visibility_timeout_seconds=60)
    assert (message.body, message.target_arn, message.error_message) == (
        "{}",
        "arn:aws:sqs:x:1:Harvest",
        "no permission",
    )
    assert message.receive_count == 1
    assert adapter.get_depth(url).in_flight == 1


def test_sqs_release_makes_messages_visible_again(sqs: Any) -> None:
    client, adapter, url = sqs
    for number in range(12):
        client.send_message(QueueUrl=url, MessageBody=str(number))
    messages = adapter.receive(url, limit=10, visibility_timeout_seconds=60)
    messages += adapter.receive(url, limit=10, visibility_timeout_seconds=60)
    assert len(messages) == 12
    adapter.delete(url, messages[0])
    adapter.release(url, messages[1:])
    assert adapter.get_depth(url).waiting == 11


def test_sqs_send_sends_body(sqs: Any) -> None:
    client, adapter, _ = sqs
    url = client.create_queue(QueueName="source")["QueueUrl"]
    adapter.send(url, make_message(1, message_group=None))
    (message,) = adapter.receive(url, limit=1, visibility_timeout_seconds=60)
    assert json.loads(message.body)["job_id"] == "job1"
