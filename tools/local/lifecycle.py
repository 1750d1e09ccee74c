"""Brings a stack up, or heals one that is half there. Safe to repeat: it does only what is missing.

Ends a stack: its servers, their children, and whatever outlived an earlier crash.

Ending the emulator in good order and starting it with its state, as a machine that is restarted would.

A stack that lasts no longer than the program that wanted it, even where that program is killed.

`python -m tools.local.lifecycle PID NAME` waits for the program's end and takes the stack down.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import requests
from filelock import FileLock

from tools.local import build, configuration, deploy, emulator, processes, servers, waiting
from tools.local.configuration import (
    SECRET_PARAMETER,
    TOKEN_PARAMETER,
    Upstream,
    build_parameters,
    build_public_url,
    build_settings,
)
from tools.local.deploy import apply_ignored_properties
from tools.local.emulator import get_client
from tools.local.errors import LocalError
from tools.local.keys import DEMO_TENANT, OPERATOR_TENANT, KeyIssuer
from tools.local.paths import LOCAL_FOLDER, ROOT, StackFolder
from tools.local.processes import Daemon, clean_environment
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.local.template import write_local_template

ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Addresses:
    """Where the stack's servers answer."""

    endpoint_url: str
    simulator_url: str
    cdn_url: str


def start_stack(folder: StackFolder, screen: Screen, overrides: Mapping[str, str] | None = None) -> Stack:
    """The running stack. `overrides` are template parameters that differ from the local defaults."""
    _check_environments()
    folder.create()
    with FileLock(folder.lock_file):
        addresses = _start(folder, screen)
        source = configuration.choose_upstream(os.environ, addresses.simulator_url)
        _put_secrets(addresses.endpoint_url, source)
        chosen = build_parameters(
            endpoint_url=addresses.endpoint_url, cdn_url=addresses.cdn_url, upstream=source
        )
        _deploy(folder, screen, addresses.endpoint_url, chosen | dict(overrides or {}))
        stack = _describe(folder, addresses, source)
        stack.save(folder)
        _wait_for_answer(stack)
    return stack


def _check_environments() -> None:
    missing = [name for name in ("sam", "ministack") if not (ROOT / ".venvs" / name / "bin").is_dir()]
    if missing:
        raise LocalError(f"no environment for {' and '.join(missing)}; run `make env` first")


def _start(home: StackFolder, screen: Screen) -> Addresses:
    with screen.step("starting the local AWS") as done:
        endpoint_url = servers.get_emulator(home).start()
        done(f"the local AWS answers at {endpoint_url}")
    with screen.step("starting the local Replicate") as done:
        simulator_url = servers.get_simulator(home).start()
        done(f"the local Replicate answers at {simulator_url}")
    return Addresses(endpoint_url, simulator_url, servers.get_output_server(home).start())


def _put_secrets(endpoint_url: str, source: Upstream) -> None:
    """CloudFormation cannot make SecureStrings, so on AWS too the operator puts these two by hand."""
    ssm = get_client("ssm", endpoint_url)
    for name, value in ((TOKEN_PARAMETER, source.token), (SECRET_PARAMETER, source.fetch_webhook_secret())):
        ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


def _deploy(home: StackFolder, screen: Screen, endpoint_url: str, chosen: Mapping[str, str]) -> None:
    current = deploy.fingerprint_deployment(chosen, servers.get_emulator(home).daemon.generation)
    before = deploy.read_fingerprint(home)
    if before == current:
        return
    with FileLock(LOCAL_FOLDER / "build.lock"):
        with screen.step("building: sam build") as done:
            built = build.build_template()
            template = built.with_name(f"template-{home.name}.yaml")
            write_local_template(
                built,
                template,
                settings=build_settings(
                    faults_file=home.faults_file, clock_offset_file=home.clock_offset_file
                ),
                layer=deploy.unpack_layer(home, built, current),
            )
            done("built")
        with screen.step("deploying: sam deploy") as done:
            deploy.deploy_template(home, template, chosen, endpoint_url)
            apply_ignored_properties(endpoint_url)
            done("deployed")
    deploy.remove_other_layers(home, before, current)
    deploy.record_fingerprint(home, current)


def _describe(home: StackFolder, addresses: Addresses, source: Upstream) -> Stack:
    outputs = deploy.get_outputs(addresses.endpoint_url)
    origin = {"endpoint": addresses.endpoint_url, "host": _distribution_host(outputs["DistributionDomain"])}
    home.distribution_file.write_text(json.dumps(origin), encoding="utf-8")
    api_key, admin_key = _keys(home, addresses.endpoint_url, outputs)
    daemons = [server.daemon for server in servers.list_servers(home)]
    return Stack(
        stack_name=deploy.STACK_NAME,
        region=emulator.REGION,
        endpoint_url=addresses.endpoint_url,
        api_url=build_public_url(addresses.endpoint_url),
        simulator_url=addresses.simulator_url,
        cdn_url=addresses.cdn_url,
        api_key=api_key,
        admin_key=admin_key,
        upstream_url=source.url,
        webhooks_enabled=source.webhooks_enabled,
        outputs=outputs,
        process_ids={daemon.name: daemon.process.pid for daemon in daemons if daemon.process},
        log_files={daemon.name: str(home.get_log_file(daemon.name)) for daemon in daemons},
    )


def _distribution_host(domain: str) -> str:
    """Where the emulator answers for a distribution, whatever the ending of its domain."""
    return f"{domain.partition('.')[0]}.cloudfront.localhost"


def _keys(home: StackFolder, endpoint_url: str, outputs: Mapping[str, str]) -> tuple[str, str]:
    keyring = KeyIssuer(endpoint_url, outputs)
    if home.stack_file.exists():
        known = Stack.load(home)
        if keyring.is_stored(known.api_key) and keyring.is_stored(known.admin_key):
            return known.api_key, known.admin_key
    return keyring.create_key(DEMO_TENANT, name="local"), keyring.create_key(
        OPERATOR_TENANT, name="local operator", admin=True
    )


def _wait_for_answer(stack: Stack) -> None:
    def healthy() -> bool | None:
        try:
            return requests.get(f"{stack.api_url}/health", timeout=30).ok or None
        except requests.RequestException:
            return None

    waiting.wait_for(
        healthy, timeout_seconds=ANSWER_SECONDS, description=f"answer from {stack.api_url}/health"
    )


def stop_stack(folder: StackFolder, screen: Screen) -> None:
    """Nothing of the stack runs afterwards, or an error says what does. Its data goes with it."""
    folder.create()
    with FileLock(folder.lock_file):
        daemons = [server.daemon for server in servers.list_servers(folder)]
        members = [process for daemon in daemons for process in daemon.group]
        # No grace: what they would still write down is not wanted.
        processes.terminate([*members, *processes.find_stack_processes(folder)], timeout_seconds=0)
        for pid_file in folder.path.glob("*.pid.json"):
            pid_file.unlink()
        left = processes.find_stack_processes(folder)
        folder.delete_data()
    if left:
        raise LocalError(f"still running: {', '.join(str(process.pid) for process in left)}")
    screen.print("nothing is left running")


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


def restart_emulator(folder: StackFolder, stack: Stack) -> None:
    """However long it takes to write its state: one that is killed meanwhile would have lost it."""
    server = servers.get_emulator(folder)
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
    _recreate_stream_mappings(stack.get_client("lambda"))


def _recreate_stream_mappings(lambdas: Any) -> None:
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


@contextlib.contextmanager
def temporary_stack(
    folder: StackFolder,
    screen: Screen,
    overrides: Mapping[str, str] | None = None,
    *,
    keep_running: bool = False,
) -> Iterator[Stack]:
    """The running stack, as `up` brings it up; afterwards nothing of it is left, unless it is to be kept."""
    if not keep_running:
        stop_with_this_process(folder)
    try:
        yield start_stack(folder, screen, overrides)
    finally:
        if not keep_running:
            stop_stack(folder, screen)


def stop_with_this_process(home: StackFolder) -> None:
    """Starts the program that waits for this one's end. `down` ends it as any other part of the stack."""
    home.create()
    command = [sys.executable, "-m", "tools.local.lifecycle", str(os.getpid()), home.name]
    Daemon(home, "updater").start(command, clean_environment())


def main(pid: int, name: str) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait()
    stop_stack(StackFolder(name), Screen())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
