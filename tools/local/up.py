"""Brings a stack up, or heals one that is half there. Safe to repeat: it does only what is missing."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

import requests
from filelock import FileLock

from tools.local import build, deploy, environment, layer, servers, upstream, waiting
from tools.local.errors import LocalError
from tools.local.home import LOCAL, ROOT, Home
from tools.local.ignored_properties import apply_ignored_properties
from tools.local.keys import DEMO_TENANT, OPERATOR_TENANT, KeyIssuer
from tools.local.parameters import (
    SECRET_PARAMETER,
    TOKEN_PARAMETER,
    build_parameters,
    build_public_url,
    build_settings,
)
from tools.local.screen import Screen
from tools.local.stack import Stack, client
from tools.local.template import write_local_template
from tools.local.upstream import Upstream

ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Addresses:
    """Where the stack's servers answer."""

    endpoint_url: str
    simulator_url: str
    cdn_url: str


def up(home: Home, screen: Screen, overrides: Mapping[str, str] | None = None) -> Stack:
    """The running stack. `overrides` are template parameters that differ from the local defaults."""
    _check_environments()
    home.prepare()
    with FileLock(home.lock):
        addresses = _start(home, screen)
        source = upstream.choose(os.environ, addresses.simulator_url)
        _put_secrets(addresses.endpoint_url, source)
        chosen = build_parameters(
            endpoint_url=addresses.endpoint_url, cdn_url=addresses.cdn_url, upstream=source
        )
        _deploy(home, screen, addresses.endpoint_url, chosen | dict(overrides or {}))
        stack = _describe(home, addresses, source)
        stack.save(home)
        _wait_for_answer(stack)
    return stack


def _check_environments() -> None:
    missing = [name for name in ("sam", "ministack") if not (ROOT / ".venvs" / name / "bin").is_dir()]
    if missing:
        raise LocalError(f"no environment for {' and '.join(missing)}; run `make env` first")


def _start(home: Home, screen: Screen) -> Addresses:
    with screen.step("starting the local AWS") as done:
        endpoint_url = servers.aws(home).start()
        done(f"the local AWS answers at {endpoint_url}")
    with screen.step("starting the local Replicate") as done:
        simulator_url = servers.replicate(home).start()
        done(f"the local Replicate answers at {simulator_url}")
    return Addresses(endpoint_url, simulator_url, servers.outputs(home).start())


def _put_secrets(endpoint_url: str, source: Upstream) -> None:
    """CloudFormation cannot make SecureStrings, so on AWS too the operator puts these two by hand."""
    ssm = client("ssm", endpoint_url)
    for name, value in ((TOKEN_PARAMETER, source.token), (SECRET_PARAMETER, source.webhook_secret())):
        ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


def _deploy(home: Home, screen: Screen, endpoint_url: str, chosen: Mapping[str, str]) -> None:
    current = deploy.fingerprint_deployment(chosen, servers.aws(home).daemon.generation)
    before = deploy.read_fingerprint(home)
    if before == current:
        return
    with FileLock(LOCAL / "build.lock"):
        with screen.step("building: sam build") as done:
            built = build.build()
            template = built.with_name(f"template-{home.name}.yaml")
            write_local_template(
                built,
                template,
                settings=build_settings(faults_file=home.faults_file, clock_file=home.clock_file),
                layer=layer.unpack_layer(home, built, current),
            )
            done("built")
        with screen.step("deploying: sam deploy") as done:
            deploy.deploy(home, template, chosen, endpoint_url)
            apply_ignored_properties(endpoint_url)
            done("deployed")
    layer.remove_other_layers(home, before, current)
    deploy.record_fingerprint(home, current)


def _describe(home: Home, addresses: Addresses, source: Upstream) -> Stack:
    outputs = deploy.get_outputs(addresses.endpoint_url)
    origin = {"endpoint": addresses.endpoint_url, "host": _distribution_host(outputs["DistributionDomain"])}
    home.origin_file.write_text(json.dumps(origin), encoding="utf-8")
    api_key, admin_key = _keys(home, addresses.endpoint_url, outputs)
    daemons = [server.daemon for server in servers.all_of(home)]
    return Stack(
        stack_name=deploy.STACK_NAME,
        region=environment.REGION,
        endpoint_url=addresses.endpoint_url,
        api_url=build_public_url(addresses.endpoint_url),
        simulator_url=addresses.simulator_url,
        cdn_url=addresses.cdn_url,
        api_key=api_key,
        admin_key=admin_key,
        upstream_url=source.url,
        webhooks=source.webhooks,
        outputs=outputs,
        processes={daemon.name: daemon.process.pid for daemon in daemons if daemon.process},
        logs={daemon.name: str(home.log(daemon.name)) for daemon in daemons},
    )


def _distribution_host(domain: str) -> str:
    """Where the emulator answers for a distribution, whatever the ending of its domain."""
    return f"{domain.partition('.')[0]}.cloudfront.localhost"


def _keys(home: Home, endpoint_url: str, outputs: Mapping[str, str]) -> tuple[str, str]:
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

    waiting.until(healthy, seconds=ANSWER_SECONDS, what=f"answer from {stack.api_url}/health")
