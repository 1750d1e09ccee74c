"""After a restart the emulator's streams begin again."""

from typing import Any

from tools.local import lifecycle

STREAM = {
    "UUID": "u1",
    "EventSourceArn": "arn:aws:dynamodb:us-east-1:000000000000:table/jobs/stream/1",
    "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:notify",
    "BatchSize": 25,
    "FilterCriteria": {"Filters": []},
    "DestinationConfig": None,
    "State": "Enabled",
    "LastProcessingResult": "OK",
}
QUEUE = {**STREAM, "UUID": "u2", "EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:track"}


class FakeLambda:
    def __init__(self) -> None:
        self.mappings: dict[str, dict[str, Any]] = {"u1": STREAM, "u2": QUEUE}

    def list_event_source_mappings(self) -> dict[str, Any]:
        return {"EventSourceMappings": list(self.mappings.values())}

    def delete_event_source_mapping(self, *, UUID: str) -> None:  # noqa: N803 - boto3's names
        del self.mappings[UUID]

    def create_event_source_mapping(self, **settings: Any) -> None:
        self.mappings["new"] = settings


def test_a_streams_consumer_begins_at_the_first_record_a_queues_is_left_alone() -> None:
    lambdas = FakeLambda()

    lifecycle._recreate_stream_mappings(lambdas)

    assert lambdas.mappings == {
        "u2": QUEUE,
        "new": {
            "FunctionName": STREAM["FunctionArn"],
            "EventSourceArn": STREAM["EventSourceArn"],
            "StartingPosition": "TRIM_HORIZON",
            "BatchSize": 25,
            "FilterCriteria": {"Filters": []},
        },
    }
