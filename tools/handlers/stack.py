"""A local stack in which only the measured handler works."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests

from tools.handlers.process import HandlerLab
from tools.local.errors import LocalError
from tools.local.invoke.sample_records import LocalPredictions
from tools.local.lifecycle import temporary_stack
from tools.local.paths import StackFolder
from tools.local.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.local.stack import Stack

_SAMPLE_MODEL = "stability-ai/sdxl"
_TIMEOUT_SECONDS = 60


@contextmanager
def run_lab() -> Iterator[HandlerLab]:
    """Start a stack whose functions only run in the lab, and yield the lab."""
    # The sweep of a local stack would go on for most of a minute.
    with temporary_stack(StackFolder("handlers"), Screen(), {"SweepDurationSeconds": "0"}) as stack:
        learn_sample_model(stack)
        stop_pipeline(stack)
        yield HandlerLab(stack)


def learn_sample_model(stack: Stack) -> None:
    """Run a prediction of the model of the samples, since creates wait for what is not known of a model."""
    version = LocalPredictions(stack).get_version(_SAMPLE_MODEL)
    response = requests.post(
        f"{stack.api_url}/v1/predictions",
        json={"version": version, "input": {"prompt": "a lighthouse at dusk"}},
        headers={"authorization": f"Bearer {stack.api_key}", "prefer": "wait"},
        timeout=_TIMEOUT_SECONDS,
    )
    if response.json().get("status") != "succeeded":
        raise LocalError(f"a prediction of {_SAMPLE_MODEL} did not succeed: {response.text[:300]}")


def stop_pipeline(stack: Stack) -> None:
    """Keep the stack from starting functions by queues, streams and schedules."""
    functions: Any = stack.get_client("lambda")
    events: Any = stack.get_client("events")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    for rule in events.list_rules()["Rules"]:
        if "ScheduleExpression" in rule:
            events.disable_rule(Name=rule["Name"])
