"""The simulation's EventBridge, SSM, Lambda and API Gateway, and its stack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.aws.api_gateway import ApiGateway
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.aws.secrets import SecretReader, SsmParameter
from replicate_proxy.contracts.events import Event, EventName, EventSource, PredictionReport
from replicate_proxy.errors import ConfigurationError
from replicate_proxy.jobs.model import ReportChannel
from replicate_proxy.operations.ports import Stage
from tests.support.aws_pair import ClientPair
from tests.support.clock import NOW
from tools.simulation.aws import InMemoryAws, NoAnomalies
from tools.simulation.aws.events import MAX_ENTRIES_BYTES, Target
from tools.simulation.aws.patterns import compile_pattern
from tools.template.stack import load_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.simulation.aws.events import PendingDelivery

TARGET = Target("target", dead_letter_queue="dead-letters", max_retries=3, max_age_seconds=3600)
ENTRY = {"Source": "test", "DetailType": "Happened", "Detail": '{"n": 1}', "EventBusName": "bus"}


class Choices(NoAnomalies):
    """Choices that a test sets."""

    def __init__(self) -> None:
        self.copies = 1
        self.delay = 0.0

    def bus_delivery(self, queue: str) -> int:
        return self.copies

    def bus_delay(self, queue: str) -> float:
        return self.delay


class Simulated:
    """A bus whose events go to a queue, at a time that the test sets."""

    def __init__(self) -> None:
        self.now = NOW.timestamp()
        self.choices = Choices()
        self.aws = InMemoryAws(lambda: self.now, choices=self.choices)
        self.aws.sqs.create_queue("target")
        self.aws.sqs.create_queue("dead-letters")
        self.aws.events.create_bus("bus")
        self.aws.events.create_rule(
            "rule",
            bus="bus",
            pattern={"source": ["test"]},
            targets=[TARGET],
        )

    def put(self, **entry: Any) -> Any:
        return self.aws.client("events").put_events(Entries=[{**ENTRY, **entry}])

    def bodies(self, queue: str = "target") -> list[Any]:
        return [json.loads(message.body) for message in self.aws.sqs.queues[queue].messages()]


@pytest.fixture
def simulated() -> Simulated:
    return Simulated()


class TestPutEvents:
    @pytest.fixture
    def pair(self, simulated: Simulated) -> Iterator[ClientPair]:
        with mock_aws():
            moto = boto3.client("events")
            moto.create_event_bus(Name="bus")
            yield ClientPair(simulated.aws.client("events"), moto)

    @pytest.mark.parametrize(
        "entries",
        [
            [ENTRY, {**ENTRY, "Time": NOW}],
            [ENTRY, {**ENTRY, "Detail": "no JSON"}],
            [
                {name: value for name, value in ENTRY.items() if name != missing}
                for missing in ("Source", "Detail")
            ],
            [{**ENTRY, "DetailType": ""}],
            [ENTRY] * 11,
        ],
    )
    def test_response_is_that_of_moto(self, pair: ClientPair, entries: list[dict[str, Any]]) -> None:
        pair.call("put_events", {"Entries": entries})

    def test_entries_are_limited_to_a_megabyte(self, simulated: Simulated) -> None:
        """API reference, PutEvents: the total entry size must be less than 1 MB."""
        overhead = len(ENTRY["Source"]) + len(ENTRY["DetailType"]) + len('{"x":""}')
        with pytest.raises(ClientError, match="ValidationException"):
            simulated.put(
                Detail=json.dumps({"x": "y" * (MAX_ENTRIES_BYTES - overhead)}, separators=(",", ":"))
            )
        simulated.put(
            Detail=json.dumps({"x": "y" * (MAX_ENTRIES_BYTES - overhead - 1)}, separators=(",", ":"))
        )
        assert len(simulated.aws.events.pending) == 1

    def test_detail_that_is_no_object_is_malformed(self, simulated: Simulated) -> None:
        assert simulated.put(Detail="[]")["Entries"][0]["ErrorCode"] == "MalformedDetail"

    @pytest.mark.parametrize(
        ("number", "is_taken"), [(2**63 - 1, True), (2**63, False), (-(2**63) - 1, False)]
    )
    def test_integers_have_64_bits(self, simulated: Simulated, number: int, is_taken: bool) -> None:
        """API reference, PutEvents: constraints of the JSON number (integer) data type."""
        response = simulated.put(Detail=json.dumps({"n": number}))
        assert response["FailedEntryCount"] == (0 if is_taken else 1)

    def test_event_for_unknown_bus_is_an_error_of_the_simulation(self, simulated: Simulated) -> None:
        with pytest.raises(KeyError, match="no event bus"):
            simulated.put(EventBusName="other")


class TestDelivery:
    def test_message_is_the_event_in_its_envelope(self, simulated: Simulated) -> None:
        response = simulated.put(Time=NOW)
        simulated.aws.events.deliver_due()
        assert simulated.bodies() == [
            {
                "version": "0",
                "id": response["Entries"][0]["EventId"],
                "detail-type": "Happened",
                "source": "test",
                "account": "111122223333",
                "time": "2026-01-31T09:30:00Z",
                "region": "us-east-1",
                "resources": [],
                "detail": {"n": 1},
            }
        ]

    def test_event_without_matching_rule_goes_nowhere(self, simulated: Simulated) -> None:
        simulated.put(Source="other")
        assert (simulated.aws.events.deliver_due(), simulated.aws.events.next_due()) == (0, None)

    def test_delayed_event_is_delivered_when_due(self, simulated: Simulated) -> None:
        due: list[float] = []
        simulated.aws.events.on_pending = due.append
        simulated.choices.delay = 30
        simulated.put()
        assert (due, simulated.aws.events.next_due()) == ([simulated.now + 30], simulated.now + 30)
        assert simulated.aws.events.deliver_due() == 0
        simulated.now += 30
        assert simulated.aws.events.deliver_due() == 1
        assert len(simulated.bodies()) == 1

    @pytest.mark.parametrize(
        ("group", "expected"), [("$.detail.tenant", "acme"), ("fixed", "fixed"), (None, None)]
    )
    def test_message_has_the_group_of_its_target(
        self, simulated: Simulated, group: str | None, expected: str | None
    ) -> None:
        target = Target("target", message_group=group)
        simulated.aws.events.create_rule("fair", bus="bus", pattern={"source": ["fair"]}, targets=[target])
        simulated.put(Source="fair", Detail='{"tenant": "acme"}')
        simulated.aws.events.deliver_due()
        (message,) = simulated.aws.sqs.queues["target"].messages()
        assert message.group == expected

    def test_duplicates_have_the_same_event_id(self, simulated: Simulated) -> None:
        simulated.choices.copies = 2
        simulated.put()
        simulated.aws.events.deliver_due()
        first, second = simulated.bodies()
        assert first == second

    def test_refused_event_is_delivered_by_a_retry(self, simulated: Simulated) -> None:
        simulated.aws.events.is_refused = lambda delivery: delivery.attempts < 2
        simulated.put()
        retries = self.deliver_all(simulated)
        assert (retries, len(simulated.bodies())) == (2, 1)

    def test_event_refused_too_often_becomes_a_dead_letter(self, simulated: Simulated) -> None:
        simulated.aws.events.is_refused = lambda _: True
        simulated.put()
        assert self.deliver_all(simulated) == 3
        (message,) = simulated.aws.sqs.queues["dead-letters"].messages()
        attributes = {name: value["StringValue"] for name, value in message.attributes.items()}
        assert attributes["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"
        assert attributes["RETRY_ATTEMPTS"] == "3"
        assert attributes["TARGET_ARN"].endswith(":target")
        assert attributes["RULE_ARN"].endswith("rule/bus/rule")
        assert json.loads(message.body)["detail"] == {"n": 1}

    def test_event_refused_too_long_becomes_a_dead_letter(self, simulated: Simulated) -> None:
        simulated.aws.events.is_refused = lambda _: True
        simulated.choices.delay = 3599
        simulated.put()
        simulated.now += 3599
        simulated.aws.events.deliver_due()
        (message,) = simulated.aws.sqs.queues["dead-letters"].messages()
        assert message.attributes["EXHAUSTED_RETRY_CONDITION"]["StringValue"] == "MaximumEventAgeInSeconds"

    def test_event_for_missing_queue_becomes_a_dead_letter_at_once(self, simulated: Simulated) -> None:
        """EventBridge user guide: errors that retrying cannot change are not retried."""
        targets = [Target("missing", dead_letter_queue="dead-letters"), Target("missing")]
        simulated.aws.events.create_rule("lost", bus="bus", pattern={"source": ["lost"]}, targets=targets)
        simulated.put(Source="lost")
        assert simulated.aws.events.deliver_due() == 0
        assert len(simulated.bodies("dead-letters")) == 1
        dropped: list[PendingDelivery] = simulated.aws.events.dropped
        assert [delivery.queue for delivery in dropped] == ["missing"]

    def deliver_all(self, simulated: Simulated) -> int:
        """Deliver until nothing is pending; return the number of retries."""
        retries = 0
        simulated.aws.events.deliver_due()
        while (due := simulated.aws.events.next_due()) is not None:
            simulated.now = due
            simulated.aws.events.deliver_due()
            retries += 1
        return retries


@pytest.mark.parametrize(
    ("pattern", "event", "matches"),
    [
        ({"a": ["x", "y"]}, {"a": "y"}, True),
        ({"a": ["x"]}, {"a": "z"}, False),
        ({"a": ["x"]}, {}, False),
        ({"a": ["x"]}, {"a": ["w", "x"]}, True),
        ({"a": ["x"], "b": [1]}, {"a": "x", "b": 2}, False),
        ({"a": [True]}, {"a": 1}, False),
        ({"a": {"b": ["x"]}}, {"a": {"b": "x", "c": 1}}, True),
        ({"a": {"b": ["x"]}}, {"a": "x"}, False),
        ({"a": [{"anything-but": ["x", "y"]}]}, {"a": "z"}, True),
        ({"a": [{"anything-but": ["x", "y"]}]}, {"a": "x"}, False),
        ({"a": [{"anything-but": "x"}]}, {"a": "x"}, False),
        ({"a": [{"anything-but": "x"}]}, {}, False),
    ],
)
def test_pattern_matches_as_documented(pattern: Any, event: Any, matches: bool) -> None:
    """Amazon EventBridge user guide, "Event patterns" and "Comparison operators"."""
    assert compile_pattern(pattern)(event) is matches


@pytest.mark.parametrize(
    "pattern", [{"$or": []}, {"a": [{"prefix": "x"}]}, {"a": [{"anything-but": {"prefix": "x"}}]}]
)
def test_pattern_with_other_filters_is_refused(pattern: Any) -> None:
    with pytest.raises(NotImplementedError):
        compile_pattern(pattern)


def make_report_event(status: str, name: EventName) -> Event:
    report = PredictionReport(
        tenant="acme",
        job_id="job-1",
        attempt=1,
        status=status,
        channel=ReportChannel.POLL,
        received_at=NOW,
        prediction={"id": "p1"},
        correlation_id="c-1",
    )
    return Event.create(name, EventSource.UPSTREAM, correlation_id="c-1", now=NOW, data=report.to_data())


class TestStack:
    @pytest.fixture
    def stack(self) -> InMemoryAws:
        return InMemoryAws.from_template(NOW.timestamp, stack_name="simulation")

    @pytest.mark.parametrize(
        ("status", "name", "queue"),
        [
            ("succeeded", EventName.PREDICTION_COMPLETED, "harvest"),
            ("failed", EventName.PREDICTION_COMPLETED, "track"),
        ],
    )
    def test_rules_of_the_template_route_reports(
        self, stack: InMemoryAws, status: str, name: EventName, queue: str
    ) -> None:
        EventBridgeBus(stack.client("events"), "simulation-bus").publish([make_report_event(status, name)])
        stack.events.deliver_due()
        counts = {
            found: len(stack.sqs.queues[f"simulation-{found}"].messages()) for found in ("harvest", "track")
        }
        assert counts == {"harvest": 0, "track": 0} | {queue: 1}
        (message,) = stack.sqs.queues[f"simulation-{queue}"].messages()
        assert message.group == "acme"

    def test_every_table_queue_and_bucket_of_the_template_exists(self, stack: InMemoryAws) -> None:
        template = load_stack("simulation")
        tables = {table.id for table in template.of_type("DynamoDB::Table")}
        assert stack.dynamodb.tables.keys() == tables
        queues = {queue.properties["QueueName"] for queue in template.of_type("SQS::Queue")}
        assert stack.sqs.queues.keys() == queues
        assert dict(stack.s3.objects("DataBucket")) == {}
        assert stack.dynamodb.stream("JobsTable").arn

    def test_queues_have_the_settings_of_the_template(self, stack: InMemoryAws) -> None:
        settings = stack.sqs.queues["simulation-dispatch"].settings
        assert settings.dead_letter_queue == "simulation-dispatch-dead-letters"
        (queue,) = [
            queue.properties
            for queue in load_stack("simulation").of_type("SQS::Queue")
            if queue.properties["QueueName"] == settings.name
        ]
        assert settings.visibility_seconds == queue["VisibilityTimeout"]
        assert settings.max_receive_count == queue["RedrivePolicy"]["maxReceiveCount"]
        assert settings.retention_seconds == queue["MessageRetentionPeriod"]

    def test_targets_have_the_retry_policy_of_the_template(self, stack: InMemoryAws) -> None:
        EventBridgeBus(stack.client("events"), "simulation-bus").publish(
            [make_report_event("failed", EventName.PREDICTION_COMPLETED)]
        )
        (delivery,) = stack.events.pending
        (rule,) = [rule for rule in load_stack().of_type("Events::Rule") if rule.id == "TrackRule"]
        policy = rule.properties["Targets"][0]["RetryPolicy"]
        assert delivery.target.max_retries == policy["MaximumRetryAttempts"]
        assert delivery.target.max_age_seconds == policy["MaximumEventAgeInSeconds"]
        assert delivery.target.dead_letter_queue == "simulation-bus-dead-letters"


class TestOtherServices:
    def test_parameter_is_read_and_overwritten(self, simulated: Simulated) -> None:
        client = simulated.aws.client("ssm")
        parameter = SsmParameter(client, "/proxy/secret")
        assert parameter.read() == ""
        with pytest.raises(ConfigurationError):
            SecretReader(client).get("/proxy/secret")
        parameter.write("one")
        parameter.write("two")
        assert SecretReader(client).get("/proxy/secret") == "two"
        parameter.delete()
        parameter.delete()
        assert parameter.read() == ""

    @pytest.mark.parametrize(
        ("operation", "request_"),
        [
            ("get_parameter", {"Name": "/missing", "WithDecryption": True}),
            ("put_parameter", {"Name": "/new", "Value": "v", "Type": "SecureString"}),
            ("put_parameter", {"Name": "/old", "Value": "v", "Type": "SecureString", "Overwrite": True}),
            ("put_parameter", {"Name": "/old", "Value": "v", "Type": "SecureString"}),
            ("delete_parameter", {"Name": "/missing"}),
        ],
    )
    def test_parameter_store_has_the_results_of_moto(
        self, simulated: Simulated, operation: str, request_: dict[str, Any]
    ) -> None:
        with mock_aws():
            pair = ClientPair(simulated.aws.client("ssm"), boto3.client("ssm"))
            for client in (pair.simulated, pair.moto):
                client.put_parameter(Name="/old", Value="old", Type="SecureString")
            results = []
            for client in (pair.simulated, pair.moto):
                try:
                    results.append((getattr(client, operation)(**request_)["Version"], None))
                except ClientError as error:
                    results.append((0, cast(Any, error.response)["Error"]["Code"]))
        assert results[0] == results[1]

    def test_standard_parameter_is_limited_to_4_kilobytes(self, simulated: Simulated) -> None:
        """AWS Systems Manager API reference, PutParameter, Value; moto stores longer ones."""
        with pytest.raises(ClientError, match="ValidationException"):
            simulated.aws.client("ssm").put_parameter(Name="/long", Value="v" * 4097, Type="SecureString")

    def test_invocation_calls_the_registered_function(self, simulated: Simulated) -> None:
        client = simulated.aws.client("lambda")

        def handle(event: Any) -> Any:
            if event == "bad":
                raise ValueError("broken")
            return {"got": event}

        simulated.aws.functions.register("function", handle)
        response = client.invoke(FunctionName="function", Payload=b'{"n": 1}')
        assert json.loads(response["Payload"].read()) == {"got": {"n": 1}}
        assert client.invoke(FunctionName="function", Payload=b'"bad"')["FunctionError"] == "Unhandled"
        client.invoke(FunctionName="function", InvocationType="Event", Payload=b"{}")
        assert [call.event for call in simulated.aws.functions.asynchronous_invocations] == [{}]
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            client.invoke(FunctionName="other")

    def test_adapter_shares_one_usage_plan_for_equal_limits(self, simulated: Simulated) -> None:
        gateway = ApiGateway(simulated.aws.client("apigateway"), prefix="proxy")
        limits = UsageLimits(rate=5, burst=10, monthly_quota=100)
        keys = [
            gateway.create_key(label, limits, Stage("api", stage))
            for label, stage in (("a", "v1"), ("b", "v2"))
        ]
        (plan,) = simulated.aws.api_gateway.plans.values()
        assert [entry["stage"] for entry in plan["apiStages"]] == ["v1", "v2"]
        assert plan["quota"] == {"limit": 100, "period": "MONTH"}
        for _ in range(2):
            gateway.delete_key(keys[0].id)
        assert list(simulated.aws.api_gateway.plan_of_key) == [keys[1].id]
        assert gateway.flush_authorizer_cache(Stage("api", "v1"))
