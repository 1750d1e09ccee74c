"""Ending the emulator in good order and starting it with its state, as a machine that is restarted would."""

import contextlib
from typing import Any

import psutil

from tools.local import servers
from tools.local.errors import LocalError
from tools.local.home import Home
from tools.local.stack import Stack

STOP_SECONDS = 120.0

# What a mapping is made of, as far as it says so itself.
_SETTINGS = (
    "EventSourceArn",
    "FunctionArn",
    "BatchSize",
    "ParallelizationFactor",
    "BisectBatchOnFunctionError",
    "MaximumRetryAttempts",
    "MaximumRecordAgeInSeconds",
    "DestinationConfig",
    "FilterCriteria",
    "FunctionResponseTypes",
)


def restart(home: Home, stack: Stack) -> None:
    """However long it takes to write its state: one that is killed meanwhile would have lost it."""
    server = servers.aws(home)
    process = server.daemon.process
    if process is None:
        raise LocalError("the emulator was to be restarted, and does not run")
    workers = process.children(recursive=True)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except psutil.TimeoutExpired as error:
        raise LocalError(f"the emulator did not stop within {STOP_SECONDS:.0f} s") from error
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    server.start()
    _begin_streams_again(stack.aws("lambda"))


def _begin_streams_again(lambdas: Any) -> None:
    """The emulator keeps a consumer's position in a stream but not the stream, so it would wait for ever.

    Records that were not consumed when it stopped are gone; on AWS a stream keeps them for a day.
    """
    for mapping in lambdas.list_event_source_mappings()["EventSourceMappings"]:
        if ":dynamodb:" not in mapping["EventSourceArn"]:
            continue
        settings = {name: mapping[name] for name in _SETTINGS if mapping.get(name) is not None}
        function = settings.pop("FunctionArn")
        lambdas.delete_event_source_mapping(UUID=mapping["UUID"])
        lambdas.create_event_source_mapping(
            FunctionName=function, StartingPosition="TRIM_HORIZON", **settings
        )
