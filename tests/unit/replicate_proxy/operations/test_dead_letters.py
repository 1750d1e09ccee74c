"""Dead letters: seen without harm, sent back, thrown away only by name."""

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
from tests.support.access import set_aws_environment
from tests.support.clock import NOW

if TYPE_CHECKING:
    from tests.unit.replicate_proxy.operations.conftest import World

DEAD, LIVE = "q/dispatch-dead", "q/dispatch"


def letter(number: int, *, tenant: str = "acme", **changes: Any) -> DeadLetter:
    body = json.dumps({"kind": "submit", "tenant": tenant, "job_id": f"job{number}", "secret": "output"})
    fields = {"body": body, "message_group": tenant, **changes}
    return DeadLetter(id=f"m{number}", receipt_handle=f"r{number}", sent_at=NOW, receive_count=5, **fields)


def test_depths_of_all_queues(world: World) -> None:
    world.queues.queues[DEAD] = [letter(1), letter(2)]
    _, found = world.call("GET", "queues")
    assert [(entry["name"], entry["dead_letters"]["waiting"]) for entry in found["results"]] == [
        ("dispatch", 2),
        ("bus", 0),
        ("sweep", 0),
    ]


def test_looking_changes_nothing_and_shows_bodies_on_demand_only(world: World) -> None:
    world.queues.queues[DEAD] = [letter(number) for number in range(15)]
    _, found = world.call("GET", "queues/dispatch/dead-letters", limit="12")
    assert len(found["results"]) == 12
    assert found["results"][0]["job_id"] == "job0"
    assert "output" not in str(found)
    assert world.queues.hidden == set()
    assert len(world.queues.queues[DEAD]) == 15
    _, found = world.call("GET", "queues/dispatch/dead-letters", limit="1", body="true")
    assert found["results"][0]["body"]["secret"] == "output"


@pytest.mark.parametrize("limit", ["0", "101", "x", "-1", "999999999999"])
def test_a_limit_is_1_to_100(world: World, limit: str) -> None:
    assert world.call("GET", "queues/dispatch/dead-letters", limit=limit)[0] == 422


def test_without_a_filter_all_go_back_as_they_were(world: World) -> None:
    letters = [letter(number) for number in range(25)]
    world.queues.queues[DEAD] = list(letters)
    assert world.call("POST", "queues/dispatch/redrive", {}) == (
        200,
        {"handled": 25, "skipped": 0, "done": True},
    )
    assert world.queues.queues == {DEAD: [], LIVE: letters}


@pytest.mark.parametrize(
    ("body", "moved"),
    [
        ({"tenant": "globex"}, ["m3"]),
        ({"job_id": "job2"}, ["m2"]),
        ({"message_ids": ["m1", "m2"]}, ["m1", "m2"]),
        ({"tenant": "acme", "job_id": "job3"}, []),
        ({"limit": 2}, ["m1", "m2"]),
    ],
)
def test_a_filter_moves_what_it_means_and_leaves_the_rest_visible(
    world: World, body: Any, moved: list[str]
) -> None:
    world.queues.queues[DEAD] = [letter(1), letter(2), letter(3, tenant="globex")]
    _, outcome = world.call("POST", "queues/dispatch/redrive", body)
    assert outcome["handled"] == len(moved)
    assert [found.id for found in world.queues.queues.get(LIVE, [])] == moved
    assert world.queues.hidden == set()


def test_a_second_redrive_finds_nothing(world: World) -> None:
    world.queues.queues[DEAD] = [letter(1)]
    world.call("POST", "queues/dispatch/redrive", {})
    _, outcome = world.call("POST", "queues/dispatch/redrive", {})
    assert outcome == {"handled": 0, "skipped": 0, "done": True}


def test_messages_go_back_at_the_asked_rate_until_time_is_up(world: World) -> None:
    world.queues.queues[DEAD] = [letter(number) for number in range(100)]
    _, outcome = world.call("POST", "queues/dispatch/redrive", {"rate_per_second": 2})
    assert outcome["done"] is False
    assert outcome["handled"] / world.slept == pytest.approx(2)
    assert world.slept < 29
    assert world.queues.hidden == set()


def test_a_failure_between_receive_and_send_loses_nothing(world: World) -> None:
    world.queues.queues[DEAD] = [letter(1)]
    world.queues.breaks_on_send = True
    assert world.call("POST", "queues/dispatch/redrive", {})[0] == 500
    assert [found.id for found in world.queues.queues[DEAD]] == ["m1"]


def test_messages_of_the_bus_go_to_the_target_they_were_meant_for(world: World) -> None:
    arn = "arn:aws:sqs:eu-central-1:1:"
    lost = [
        letter(1, target_arn=f"{arn}Harvest"),
        letter(2, target_arn=f"{arn}Track"),
        letter(3, target_arn=f"{arn}Gone"),
        letter(4),
    ]
    world.queues.queues["q/bus-dead"] = list(lost)
    _, outcome = world.call("POST", "queues/bus/redrive", {})
    assert outcome == {"handled": 2, "skipped": 2, "done": True}
    assert world.queues.queues == {"q/bus-dead": lost[2:], "q/harvest": [lost[0]], "q/track": [lost[1]]}


def test_a_queue_without_a_source_says_what_makes_up_for_it(world: World) -> None:
    status, problem = world.call("POST", "queues/sweep/redrive", {})
    assert (status, problem["detail"]) == (409, "The next run does the same work")


def test_only_what_is_named_is_thrown_away(world: World) -> None:
    world.queues.queues[DEAD] = [letter(1), letter(2)]
    assert world.call("POST", "queues/dispatch/discard", {})[0] == 422
    assert world.call("POST", "queues/dispatch/discard", {"message_ids": []})[0] == 422
    assert world.call("POST", "queues/dispatch/discard", {"message_ids": ["m2"]})[1]["handled"] == 1
    assert [found.id for found in world.queues.queues[DEAD]] == ["m1"]


@pytest.mark.parametrize("path", ["queues/x/redrive", "queues/x/discard"])
def test_an_unknown_queue_is_not_found(world: World, path: str) -> None:
    assert world.call("POST", path, {"tenant": "acme"})[0] == 404


def test_the_subject_of_a_bus_event_lies_in_its_data() -> None:
    event = {"detail": {"metadata": {}, "data": {"tenant": "acme", "job_id": "j", "prediction": {}}}}
    assert parse_subject(json.dumps(event)) == {"tenant": "acme", "job_id": "j"}


@given(st.text(max_size=50) | st.recursive(st.none(), st.lists).map(json.dumps))
def test_any_body_has_a_subject_or_none(body: str) -> None:
    assert parse_subject(body) == {}
    assert DeadLetterFilter().matches(letter(1, body=body))
    assert not DeadLetterFilter(tenant="acme").matches(letter(1, body=body))


@pytest.fixture
def queues(monkeypatch: pytest.MonkeyPatch) -> Any:
    set_aws_environment(monkeypatch)
    with mock_aws():
        client = boto3.client("sqs")
        yield client, SqsQueueClient(client), client.create_queue(QueueName="dead")["QueueUrl"]


def test_sqs_gives_a_message_with_group_target_and_times(queues: Any) -> None:
    client, adapter, url = queues
    attributes = {
        "TARGET_ARN": {"DataType": "String", "StringValue": "arn:aws:sqs:x:1:Harvest"},
        "ERROR_MESSAGE": {"DataType": "String", "StringValue": "no permission"},
    }
    client.send_message(QueueUrl=url, MessageBody="{}", MessageAttributes=attributes)
    (found,) = adapter.receive(url, limit=10, visibility_timeout_seconds=60)
    assert (found.body, found.target_arn, found.error_message) == (
        "{}",
        "arn:aws:sqs:x:1:Harvest",
        "no permission",
    )
    assert found.receive_count == 1
    assert adapter.get_depth(url).in_flight == 1


def test_sqs_hides_releases_and_deletes(queues: Any) -> None:
    client, adapter, url = queues
    for number in range(12):
        client.send_message(QueueUrl=url, MessageBody=str(number))
    found = adapter.receive(url, limit=10, visibility_timeout_seconds=60)
    found += adapter.receive(url, limit=10, visibility_timeout_seconds=60)
    assert len(found) == 12
    adapter.delete(url, found[0])
    adapter.release(url, found[1:])
    assert adapter.get_depth(url).waiting == 11


def test_sqs_sends_a_message_back(queues: Any) -> None:
    client, adapter, _ = queues
    other = client.create_queue(QueueName="live")["QueueUrl"]
    adapter.send(other, letter(1, message_group=None))
    (found,) = adapter.receive(other, limit=1, visibility_timeout_seconds=60)
    assert json.loads(found.body)["job_id"] == "job1"
