"""What the simulation's DynamoDB does beyond moto: lag, stale reads, unprocessed keys, expiry and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.job_stream import DynamoJobStream
from replicate_proxy.webhooks.ports import StreamRange
from tests.support.aws import JOBS_TABLE, build_table
from tests.support.builders import make_job
from tests.support.clock import FakeClock
from tools.simulation.aws import Call, InMemoryAws, NoAnomalies
from tools.simulation.aws.errors import RejectedError

if TYPE_CHECKING:
    from tools.simulation.aws.dynamodb.stream import Stream

TTL_ATTRIBUTE = "expires_at"


class Anomalies(NoAnomalies):
    """Choices that a test sets."""

    def __init__(self) -> None:
        self.lag = 0.0
        self.is_stale = False
        self.unprocessed = 0
        self.stale_questions = 0

    def index_lag(self, table: str, index: str) -> float:
        return self.lag

    def stale_read(self, table: str) -> bool:
        self.stale_questions += 1
        return self.is_stale

    def unprocessed_keys(self, table: str, count: int) -> int:
        return self.unprocessed


class Simulated:
    """An account at a time that the test sets, with the jobs table."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.choices = Anomalies()
        self.aws = InMemoryAws(lambda: self.now, choices=self.choices)
        self.aws.dynamodb.create_table(
            {
                **build_table(JOBS_TABLE),
                "StreamSpecification": {"StreamViewType": "NEW_AND_OLD_IMAGES"},
                "TimeToLiveSpecification": {"AttributeName": TTL_ATTRIBUTE, "Enabled": True},
            }
        )
        self.client: Any = self.aws.client("dynamodb")

    @property
    def stream(self) -> Stream:
        return self.aws.dynamodb.stream(JOBS_TABLE)

    def put(self, name: str, **attributes: Any) -> None:
        self.client.put_item(TableName=JOBS_TABLE, Item={**build_key(name), **attributes})

    def get(self, name: str, *, consistent: bool = False) -> Any:
        response = self.client.get_item(TableName=JOBS_TABLE, Key=build_key(name), ConsistentRead=consistent)
        return response.get("Item")

    def delete(self, name: str) -> None:
        self.client.delete_item(TableName=JOBS_TABLE, Key=build_key(name))

    def list_index(self, tenant: str) -> list[str]:
        response = self.client.query(
            TableName=JOBS_TABLE,
            IndexName="by_tenant",
            KeyConditionExpression="tenant = :t",
            ExpressionAttributeValues={":t": {"S": tenant}},
        )
        return [item["id"]["S"] for item in response["Items"]]

    def list_partition(self, name: str, *, consistent: bool = False) -> list[Any]:
        response = self.client.query(
            TableName=JOBS_TABLE,
            KeyConditionExpression="pk = :p",
            ExpressionAttributeValues={":p": build_key(name)["pk"]},
            ConsistentRead=consistent,
        )
        return list(response["Items"])


@pytest.fixture
def simulated() -> Simulated:
    return Simulated()


def build_key(name: str) -> dict[str, Any]:
    """Return the key of `partition/sort`; the sort key is `-` if there is none."""
    partition, _, sort = name.partition("/")
    return {"pk": {"S": partition}, "sk": {"S": sort or "-"}}


def indexed(tenant: str, item_id: str) -> dict[str, Any]:
    return {"tenant": {"S": tenant}, "id": {"S": item_id}}


class TestIndexLag:
    def test_write_shows_in_index_after_lag(self, simulated: Simulated) -> None:
        simulated.choices.lag = 5
        simulated.put("a", **indexed("T", "1"))
        assert simulated.list_index("T") == []
        simulated.now += 5
        assert simulated.list_index("T") == ["1"]

    def test_index_shows_old_entry_until_the_change_arrives(self, simulated: Simulated) -> None:
        simulated.put("a", **indexed("T", "1"))
        simulated.choices.lag = 5
        simulated.put("a", **indexed("T", "2"))
        assert simulated.list_index("T") == ["1"]
        simulated.delete("a")
        simulated.now += 5
        assert simulated.list_index("T") == []

    def test_changes_of_an_item_show_in_the_order_of_its_writes(self, simulated: Simulated) -> None:
        simulated.choices.lag = 9
        simulated.put("a", **indexed("T", "1"))
        simulated.choices.lag = 1
        simulated.put("a", **indexed("T", "2"))
        simulated.now += 5
        assert simulated.list_index("T") == []
        simulated.now += 5
        assert simulated.list_index("T") == ["2"]

    def test_change_of_other_attributes_does_not_touch_the_index(self, simulated: Simulated) -> None:
        simulated.put("a", **indexed("T", "1"))
        simulated.choices.lag = 5
        simulated.put("a", **indexed("T", "1"), x={"S": "new"})
        assert simulated.list_index("T") == ["1"]

    def test_entries_that_do_not_show_yet_can_be_found(self, simulated: Simulated) -> None:
        simulated.choices.lag = 5
        simulated.put("a", **indexed("T", "3"))
        index = simulated.aws.dynamodb.tables[JOBS_TABLE].indexes["by_tenant"]
        assert (index.has_entry_up_to("3"), index.has_entry_up_to("2")) == (True, False)
        assert simulated.list_index("T") == []


class TestStaleReads:
    def test_stale_read_returns_version_before_last_write(self, simulated: Simulated) -> None:
        simulated.put("a", n={"N": "1"})
        simulated.put("a", n={"N": "2"})
        simulated.choices.is_stale = True
        assert simulated.get("a")["n"] == {"N": "1"}
        assert simulated.get("a", consistent=True)["n"] == {"N": "2"}
        simulated.now += 1
        assert simulated.get("a")["n"] == {"N": "2"}

    def test_stale_read_misses_new_item_and_finds_deleted_one(self, simulated: Simulated) -> None:
        simulated.put("old")
        simulated.now += 60
        simulated.put("new")
        simulated.delete("old")
        simulated.choices.is_stale = True
        assert (simulated.get("new"), simulated.get("old")) == (None, build_key("old"))

    def test_choice_is_asked_only_where_a_write_is_young(self, simulated: Simulated) -> None:
        simulated.put("a")
        simulated.get("b")
        simulated.get("a", consistent=True)
        assert simulated.choices.stale_questions == 0
        simulated.get("a")
        assert simulated.choices.stale_questions == 1

    def test_stale_query_returns_partition_before_its_last_writes(self, simulated: Simulated) -> None:
        for sort in "cab":
            simulated.put(f"p/{sort}", n={"N": "1"})
        simulated.now += 60
        simulated.put("p/a", n={"N": "2"})
        simulated.put("p/d")
        simulated.delete("p/b")
        simulated.choices.is_stale = True
        stale = [{**build_key(f"p/{sort}"), "n": {"N": "1"}} for sort in "abc"]
        assert simulated.list_partition("p") == stale
        assert [item["sk"]["S"] for item in simulated.list_partition("p", consistent=True)] == ["a", "c", "d"]


def test_batch_get_leaves_keys_unprocessed(simulated: Simulated) -> None:
    keys = [build_key(name) for name in "abc"]
    for name in "abc":
        simulated.put(name)
    simulated.choices.unprocessed = 2
    response = simulated.client.batch_get_item(
        RequestItems={JOBS_TABLE: {"Keys": keys, "ConsistentRead": True}}
    )
    assert response == {
        "Responses": {JOBS_TABLE: keys[:1]},
        "UnprocessedKeys": {JOBS_TABLE: {"Keys": keys[1:], "ConsistentRead": True}},
    }
    simulated.choices.unprocessed = 3
    with pytest.raises(ClientError, match="ProvisionedThroughputExceededException"):
        simulated.client.batch_get_item(RequestItems={JOBS_TABLE: {"Keys": keys}})


class TestExpiry:
    def test_expired_item_is_readable_until_it_is_removed(self, simulated: Simulated) -> None:
        now = int(simulated.now)
        simulated.put("due", **{TTL_ATTRIBUTE: {"N": str(now - 1)}})
        simulated.put("later", **{TTL_ATTRIBUTE: {"N": str(now + 1)}})
        simulated.put("text", **{TTL_ATTRIBUTE: {"S": str(now - 1)}})
        simulated.put("years ago", **{TTL_ATTRIBUTE: {"N": "1000000000"}})
        assert simulated.get("due") is not None
        assert simulated.aws.dynamodb.expire() == 1
        assert simulated.get("due") is None
        assert None not in [simulated.get(name) for name in ("later", "text", "years ago")]

    def test_item_expires_at_the_time_that_its_last_write_has_set(self, simulated: Simulated) -> None:
        now = int(simulated.now)
        for name, times in {
            "later": (1, 9),
            "earlier": (9, 1),
            "none": (1, None),
            "again": (1, 9, 1),
        }.items():
            for seconds in times:
                ttl = {TTL_ATTRIBUTE: {"N": str(now + seconds)}} if seconds is not None else {}
                simulated.put(name, **ttl)
        simulated.now = now + 5
        assert simulated.aws.dynamodb.expire() == 2
        assert [name for name in ("later", "none") if simulated.get(name) is None] == []
        simulated.now = now + 15
        assert simulated.aws.dynamodb.expire() == 1
        assert simulated.get("none") is not None

    def test_removal_of_expired_item_is_recorded_as_by_the_service(self, simulated: Simulated) -> None:
        simulated.put("due", **{TTL_ATTRIBUTE: {"N": "1799999999"}})
        simulated.aws.dynamodb.expire()
        record = read_all(simulated.stream)[-1]
        assert record["eventName"] == "REMOVE"
        assert record["userIdentity"] == {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


def read_all(stream: Stream) -> list[dict[str, Any]]:
    return [record for shard in stream.shards for record in stream.read(shard, 0, 1000)]


class TestStream:
    def test_records_hold_both_images_in_order_of_writes(self, simulated: Simulated) -> None:
        simulated.put("a", n={"N": "1"})
        simulated.put("a", n={"N": "2"})
        simulated.put("a", n={"N": "2"})
        simulated.delete("a")
        simulated.delete("a")
        records = read_all(simulated.stream)
        images = [
            (record["dynamodb"].get("OldImage"), record["dynamodb"].get("NewImage")) for record in records
        ]
        first, second = ({**build_key("a"), "n": {"N": number}} for number in "12")
        assert images == [(None, first), (first, second), (second, None)]
        assert [record["eventName"] for record in records] == ["INSERT", "MODIFY", "REMOVE"]
        assert all(record["dynamodb"]["Keys"] == build_key("a") for record in records)

    def test_partitions_are_spread_over_shards(self, simulated: Simulated) -> None:
        for number in range(20):
            simulated.put(f"p{number}")
        counts = [len(simulated.stream.read(shard, 0, 100)) for shard in simulated.stream.shards]
        assert len(counts) == 2
        assert min(counts) > 0

    def test_failed_write_is_not_recorded(self, simulated: Simulated) -> None:
        with pytest.raises(ClientError):
            simulated.client.put_item(
                TableName=JOBS_TABLE, Item=build_key("a"), ConditionExpression="attribute_exists(pk)"
            )
        assert read_all(simulated.stream) == []

    def test_read_continues_at_position(self, simulated: Simulated) -> None:
        for number in range(5):
            simulated.put("a", n={"N": str(number)})
        (shard,) = [shard for shard in simulated.stream.shards if simulated.stream.read(shard, 0, 1)]
        numbers = [
            [record["dynamodb"]["NewImage"]["n"]["N"] for record in simulated.stream.read(shard, position, 2)]
            for position in (0, 2, 4, 5)
        ]
        assert numbers == [["0", "1"], ["2", "3"], ["4"], []]

    def test_records_are_trimmed_after_a_day(self, simulated: Simulated) -> None:
        simulated.put("a", n={"N": "1"})
        simulated.now += 24 * 3600 + 1
        simulated.put("a", n={"N": "2"})
        (shard,) = [shard for shard, found in simulated.stream.shards.items() if found.records]
        with pytest.raises(RejectedError, match="TrimmedDataAccessException"):
            simulated.stream.read(shard, 0, 1)
        assert len(simulated.stream.read(shard, 1, 10)) == 1


class TestStreamsClient:
    def get_iterator(
        self, simulated: Simulated, shard: str, kind: str = "TRIM_HORIZON", **options: str
    ) -> str:
        iterator: str = simulated.aws.client("dynamodbstreams").get_shard_iterator(
            StreamArn=simulated.stream.arn, ShardId=shard, ShardIteratorType=kind, **options
        )["ShardIterator"]
        return iterator

    def get_records(self, simulated: Simulated, iterator: str, **options: int) -> Any:
        return simulated.aws.client("dynamodbstreams").get_records(ShardIterator=iterator, **options)

    def write(self, simulated: Simulated) -> str:
        """Write three versions of an item and return the shard of their records."""
        for number in range(3):
            simulated.put("a", n={"N": str(number)})
        return next(shard for shard, found in simulated.stream.shards.items() if found.records)

    def test_pages_continue_with_the_next_iterator(self, simulated: Simulated) -> None:
        shard = self.write(simulated)
        page = self.get_records(simulated, self.get_iterator(simulated, shard), Limit=2)
        assert [record["eventName"] for record in page["Records"]] == ["INSERT", "MODIFY"]
        page = self.get_records(simulated, page["NextShardIterator"])
        assert len(page["Records"]) == 1
        page = self.get_records(simulated, page["NextShardIterator"])
        assert (page["Records"], "NextShardIterator" in page) == ([], True)

    @pytest.mark.parametrize(
        ("kind", "count"), [("AT_SEQUENCE_NUMBER", 2), ("AFTER_SEQUENCE_NUMBER", 1), ("LATEST", 0)]
    )
    def test_iterator_starts_at_its_sequence_number(
        self, simulated: Simulated, kind: str, count: int
    ) -> None:
        shard = self.write(simulated)
        number = simulated.stream.read(shard, 1, 1)[0]["dynamodb"]["SequenceNumber"]
        options = {} if kind == "LATEST" else {"SequenceNumber": number}
        iterator = self.get_iterator(simulated, shard, kind, **options)
        assert len(self.get_records(simulated, iterator)["Records"]) == count

    def test_last_page_of_closed_shard_has_no_next_iterator(self, simulated: Simulated) -> None:
        shard = self.write(simulated)
        successor = simulated.stream.close_shard(shard)
        simulated.put("a", n={"N": "9"})
        page = self.get_records(simulated, self.get_iterator(simulated, shard))
        assert (len(page["Records"]), "NextShardIterator" in page) == (3, False)
        assert simulated.stream.shards[successor].parent_id == shard
        assert len(simulated.stream.read(successor, 0, 9)) == 1

    def test_page_can_be_empty_before_the_end(self, simulated: Simulated) -> None:
        """API reference, GetRecords: several calls may be needed to get to records."""
        shard = self.write(simulated)
        simulated.stream.has_empty_page = lambda _: True
        page = self.get_records(simulated, self.get_iterator(simulated, shard))
        simulated.stream.has_empty_page = lambda _: False
        assert page["Records"] == []
        assert len(self.get_records(simulated, page["NextShardIterator"])["Records"]) == 3

    def test_iterator_expires_after_fifteen_minutes(self, simulated: Simulated) -> None:
        iterator = self.get_iterator(simulated, self.write(simulated))
        simulated.now += 901
        with pytest.raises(ClientError, match="ExpiredIteratorException"):
            self.get_records(simulated, iterator)

    def test_trimmed_sequence_number_is_refused(self, simulated: Simulated) -> None:
        shard = self.write(simulated)
        number = simulated.stream.read(shard, 0, 1)[0]["dynamodb"]["SequenceNumber"]
        simulated.now += 24 * 3600 + 1
        with pytest.raises(ClientError, match="TrimmedDataAccessException"):
            self.get_iterator(simulated, shard, "AT_SEQUENCE_NUMBER", SequenceNumber=number)

    def test_adapter_reads_a_range_of_job_changes(self, simulated: Simulated) -> None:
        store = DynamoJobStore(simulated.client, JOBS_TABLE)
        store.create(make_job(id="a" * 26))
        job = store.get("acme", "a" * 26)
        assert job is not None
        store.save(job)
        (shard,) = [shard for shard, found in simulated.stream.shards.items() if found.records]
        numbers = [record["dynamodb"]["SequenceNumber"] for record in simulated.stream.read(shard, 0, 9)]
        answers = iter([True, False, True])
        simulated.stream.has_empty_page = lambda _: next(answers, False)
        clock = FakeClock()
        stream = DynamoJobStream(
            simulated.aws.client("dynamodbstreams"), clock=clock, sleep=clock.sleep, max_seconds=10
        )
        changes = list(stream.read_changes(StreamRange(simulated.stream.arn, shard, numbers[0], numbers[1])))
        assert [(change.old is None, change.new.revision) for change in changes] == [(True, 1), (False, 2)]


class TestGate:
    def test_gate_sees_each_call_and_decides_whether_it_is_performed(self, simulated: Simulated) -> None:
        calls: list[Call] = []

        def gate(call: Call, perform: Any) -> Any:
            calls.append(call)
            return perform() if call.operation != "delete_item" else {}

        simulated.aws.gate = gate
        simulated.put("a")
        simulated.delete("a")
        assert simulated.get("a") == build_key("a")
        assert [(call.service, call.operation, call.is_write, call.resource) for call in calls] == [
            ("dynamodb", "put_item", True, JOBS_TABLE),
            ("dynamodb", "delete_item", True, JOBS_TABLE),
            ("dynamodb", "get_item", False, JOBS_TABLE),
        ]

    def test_observer_sees_old_and_new_item_of_each_write(self, simulated: Simulated) -> None:
        seen: list[Any] = []
        simulated.aws.dynamodb.tables[JOBS_TABLE].observers.append(lambda old, new: seen.append((old, new)))
        simulated.put("a")
        simulated.delete("a")
        assert seen == [(None, build_key("a")), (build_key("a"), None)]

    def test_stored_item_does_not_change_with_the_items_of_callers(self, simulated: Simulated) -> None:
        item = {**build_key("a"), "n": {"N": "1"}}
        simulated.client.put_item(TableName=JOBS_TABLE, Item=item)
        item["n"] = {"N": "2"}
        simulated.get("a")["n"] = {"N": "3"}
        assert simulated.get("a")["n"] == {"N": "1"}


class TestSizes:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({"x": "1"}, {"x": "1", "y": "ä" * 9}),
            ({"x": "1", "y": "2" * 50}, {"x": "1"}),
            ({"x": "1" * 50}, {"x": "2"}),
            ({"x": "1"}, {"x": "1"}),
        ],
    )
    def test_size_after_a_second_write_is_that_of_a_new_item(
        self, simulated: Simulated, first: dict[str, str], second: dict[str, str]
    ) -> None:
        for attributes in (first, second):
            simulated.put("a", **{name: {"S": value} for name, value in attributes.items()})
        simulated.put("b", **{name: {"S": value} for name, value in second.items()})
        items = simulated.aws.dynamodb.tables[JOBS_TABLE].items
        assert items["a", "-"].size == items["b", "-"].size

    def test_unchanged_values_are_shared_between_versions(self, simulated: Simulated) -> None:
        """Streams keep all versions of a day: sharing saves most of their memory."""
        for number in "12":
            simulated.put("a", n={"N": number}, x={"L": [{"S": "same"}]})
        old, new = (record["dynamodb"].get("NewImage") for record in read_all(simulated.stream))
        assert old["n"] != new["n"]
        assert old["x"] is new["x"]
