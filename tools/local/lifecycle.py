"""Start, stop and restart a local stack."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import psutil
import requests
from filelock import FileLock

from tools.local import deploy, emulator, processes, servers, waiting
from tools.local.configuration import (
    SECRET_PARAMETER,
    TOKEN_PARAMETER,
    URL_KEY_PARAMETER,
    Upstream,
    build_parameters,
    build_public_url,
    choose_upstream,
)
from tools.local.distribution import describe_distribution
from tools.local.errors import LocalError
from tools.local.keys import DEMO_TENANT, OPERATOR_TENANT, KeyIssuer
from tools.local.paths import ROOT, StackFolder
from tools.local.processes import Daemon
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.local.url_keys import ensure_key_group, ensure_private_key, get_public_key

_HEALTH_TIMEOUT_SECONDS = 60.0
_EMULATOR_STOP_TIMEOUT_SECONDS = 120.0

# The settings of an event source mapping that can be passed to its creation.
_MAPPING_SETTINGS = (
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


class _Addresses(NamedTuple):
    endpoint_url: str
    simulator_url: str
    cdn_url: str


def start_stack(
    folder: StackFolder,
    screen: Screen,
    overrides: Mapping[str, str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
) -> Stack:
    """Start and deploy what is missing of the stack, and return the stack once its API responds.

    `overrides` are template parameters that differ from those of `build_parameters`. `environment` may choose
    another upstream than the local Replicate (`choose_upstream`), which may charge for what the stack runs.
    """
    _check_environments()
    folder.create()
    with FileLock(folder.lock_file):
        addresses = _start_servers(folder, screen)
        upstream = choose_upstream(environment or {}, addresses.simulator_url)
        url_key = ensure_private_key(folder)
        _store_secrets(addresses.endpoint_url, upstream, url_key)
        parameters = build_parameters(
            endpoint_url=addresses.endpoint_url,
            cdn_url=addresses.cdn_url,
            upstream=upstream,
            public_url_key=get_public_key(url_key),
        )
        deploy.deploy_stack(
            folder,
            screen,
            endpoint_url=addresses.endpoint_url,
            emulator_generation=servers.get_emulator(folder).daemon.generation,
            parameters=parameters | dict(overrides or {}),
            physical_ids=ensure_key_group(addresses.endpoint_url, get_public_key(url_key)),
        )
        stack = _describe_stack(folder, addresses, upstream)
        stack.save(folder)
        _wait_until_healthy(stack)
    return stack


def stop_stack(folder: StackFolder, screen: Screen) -> None:
    """Stop all processes of the stack and delete its data. Raises `LocalError` if a process still runs."""
    folder.create()
    with FileLock(folder.lock_file):
        daemons = [server.daemon for server in servers.list_servers(folder)]
        group_members = [process for daemon in daemons for process in daemon.process_group]
        # Kill at once: the data that they would still write is deleted below.
        processes.terminate([*group_members, *processes.find_stack_processes(folder)], timeout_seconds=0)
        for pid_file in folder.path.glob("*.pid.json"):
            pid_file.unlink()
        remaining = processes.find_stack_processes(folder)
        folder.delete_data()
    if remaining:
        raise LocalError(f"still running: {', '.join(str(process.pid) for process in remaining)}")
    screen.print("all processes of the stack are stopped")


@contextlib.contextmanager
def temporary_stack(
    folder: StackFolder,
    screen: Screen,
    overrides: Mapping[str, str] | None = None,
    *,
    keep_running: bool = False,
) -> Iterator[Stack]:
    """Start a stack and yield it; stop it after the block, or when this process is killed.

    It calls the local Replicate, also if the developer has set a token for Replicate itself, which would
    charge for the predictions of tests and measurements. With `keep_running`, it is not stopped.
    """
    processes.isolate_process()
    # A process that was killed leaves its faults and its time.
    for file in (folder.faults_file, folder.clock_offset_file):
        file.unlink(missing_ok=True)
    if not keep_running:
        stop_with_this_process(folder)
    try:
        yield start_stack(folder, screen, overrides)
    finally:
        if not keep_running:
            stop_stack(folder, screen)


def stop_with_this_process(folder: StackFolder) -> None:
    """Start a daemon that stops the stack as soon as this process has ended or was killed."""
    folder.create()
    command = [*(sys.executable, "-m", "tools.local", "--name", folder.name), "down"]
    command += ["--after", str(os.getpid())]
    Daemon(folder, "watchdog").start(command, processes.clean_environment())


def wait_for_process(pid: int) -> None:
    """Return when the process has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()


def restart_emulator(folder: StackFolder) -> None:
    """Stop the emulator and start it with its saved state.

    It may take long to save the state, and would lose it if it were killed meanwhile, so this raises
    `LocalError` rather than kill it.
    """
    server = servers.get_emulator(folder)
    process = server.daemon.process
    if process is None:
        raise LocalError("cannot restart the emulator: it is not running")
    workers = process.children(recursive=True)
    process.terminate()
    try:
        process.wait(_EMULATOR_STOP_TIMEOUT_SECONDS)
    except psutil.TimeoutExpired as error:
        raise LocalError(
            f"the emulator did not stop within {_EMULATOR_STOP_TIMEOUT_SECONDS:.0f} s"
        ) from error
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
    endpoint_url = server.start()
    _recreate_stream_mappings(emulator.get_client("lambda", endpoint_url))


def _check_environments() -> None:
    missing = [name for name in ("sam", "ministack") if not (ROOT / ".venvs" / name / "bin").is_dir()]
    if missing:
        folders = " and ".join(f".venvs/{name}" for name in missing)
        raise LocalError(f"{folders} not found; run `make env` first")


def _start_servers(folder: StackFolder, screen: Screen) -> _Addresses:
    with screen.step("starting the local AWS") as finish:
        endpoint_url = servers.get_emulator(folder).start()
        finish(f"the local AWS is running at {endpoint_url}")
    with screen.step("starting the local Replicate") as finish:
        simulator_url = servers.get_simulator(folder).start()
        finish(f"the local Replicate is running at {simulator_url}")
    return _Addresses(endpoint_url, simulator_url, servers.get_output_server(folder).start())


def _store_secrets(endpoint_url: str, upstream: Upstream, url_key: str) -> None:
    """Store token, webhook secret and key, which CloudFormation cannot: it does not create SecureStrings.

    On AWS the operator stores them.
    """
    ssm = emulator.get_client("ssm", endpoint_url)
    secrets = {
        TOKEN_PARAMETER: upstream.token,
        SECRET_PARAMETER: upstream.fetch_webhook_secret(),
        URL_KEY_PARAMETER: url_key,
    }
    for name, value in secrets.items():
        ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


def _describe_stack(folder: StackFolder, addresses: _Addresses, upstream: Upstream) -> Stack:
    outputs = deploy.get_outputs(addresses.endpoint_url)
    distribution = describe_distribution(addresses.endpoint_url, outputs["DistributionDomain"], upstream.url)
    folder.distribution_file.write_text(json.dumps(distribution), encoding="utf-8")
    api_key, admin_key = _ensure_keys(folder, addresses.endpoint_url, outputs)
    daemons = [server.daemon for server in servers.list_servers(folder)]
    return Stack(
        stack_name=deploy.STACK_NAME,
        region=emulator.REGION,
        endpoint_url=addresses.endpoint_url,
        api_url=build_public_url(addresses.endpoint_url),
        simulator_url=addresses.simulator_url,
        cdn_url=addresses.cdn_url,
        api_key=api_key,
        admin_key=admin_key,
        upstream_url=upstream.url,
        webhooks_enabled=upstream.webhooks_enabled,
        outputs=outputs,
        process_ids={daemon.name: daemon.process.pid for daemon in daemons if daemon.process},
        log_files={daemon.name: str(folder.get_log_file(daemon.name)) for daemon in daemons},
    )


def _ensure_keys(folder: StackFolder, endpoint_url: str, outputs: Mapping[str, str]) -> tuple[str, str]:
    """Return the API key and the admin key; create them if the last ones are not stored any more."""
    issuer = KeyIssuer(endpoint_url, outputs)
    if folder.stack_file.exists():
        last = Stack.load(folder)
        if issuer.is_stored(last.api_key) and issuer.is_stored(last.admin_key):
            return last.api_key, last.admin_key
    return (
        issuer.create_key(DEMO_TENANT, name="local"),
        issuer.create_key(OPERATOR_TENANT, name="local operator", admin=True),
    )


def _wait_until_healthy(stack: Stack) -> None:
    def is_healthy() -> bool | None:
        try:
            return requests.get(f"{stack.api_url}/health", timeout=30).ok or None
        except requests.RequestException:
            return None

    waiting.wait_for(
        is_healthy,
        timeout_seconds=_HEALTH_TIMEOUT_SECONDS,
        description=f"a successful response of {stack.api_url}/health",
    )


def _recreate_stream_mappings(lambda_client: Any) -> None:
    """Make the consumers of streams begin at the first record.

    The emulator saves the position of a consumer but not the stream, so the consumer would wait forever.
    Records that were not consumed before the restart are lost; on AWS a stream keeps them for a day.
    """
    for mapping in lambda_client.list_event_source_mappings()["EventSourceMappings"]:
        if ":dynamodb:" not in mapping["EventSourceArn"]:
            continue
        settings = {name: mapping[name] for name in _MAPPING_SETTINGS if mapping.get(name) is not None}
        function = settings.pop("FunctionArn")
        lambda_client.delete_event_source_mapping(UUID=mapping["UUID"])
        lambda_client.create_event_source_mapping(
            FunctionName=function, StartingPosition="TRIM_HORIZON", **settings
        )
