"""`make invoke`: prepare the event, build, run the function in a container, and tell what it did."""

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cfn_flip import dump_yaml, load_yaml
from filelock import FileLock
from rich.markup import escape

from tools.local import build, emulator, servers, waiting
from tools.local.errors import LocalError
from tools.local.invoke import container
from tools.local.invoke.engine import RELAY_SOCKET, DockerEngine, find_engine
from tools.local.invoke.outcome import format_response, read_outcome
from tools.local.invoke.relay import serve_relay
from tools.local.invoke.samples import MAIN_SAMPLES, PreparedSample, SamplePreparer
from tools.local.invoke.template import HANDLER_MODULE, adapt_to_samples, build_invoke_template
from tools.local.loopback import receive_webhooks
from tools.local.paths import LOCAL_FOLDER, ROOT, StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack

_CODE_FOLDER_IN_CONTAINER = Path("/var/task")
_CLOCK_FILE = "clock-offset"
_WEBHOOK_TIMEOUT_SECONDS = 20.0
_JOB_TIMEOUT_SECONDS = 10.0


@dataclass
class _Receiver:
    """Receives the webhooks that the sample leads to."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        self.bodies.append({"webhook-id": headers.get("webhook-id"), **json.loads(body)})
        self.arrived.set()
        return 204


def invoke_function(folder: StackFolder, screen: Screen, function: str, event: str | None) -> int:
    """Run the function with the event file, by default its main sample; return 0 if it did its work.

    Raises `LocalError` if the function, the event, the stack or Docker are missing.
    """
    _check_function(function)
    event_file = _find_event_file(function, event)
    environment = _build_environment()
    engine = find_engine(environment)
    stack = _load_running_stack(folder)
    with screen.step("building: sam build") as finish:
        with FileLock(LOCAL_FOLDER / "build.lock"):
            built = build.build_template(for_containers=True)
        finish("built")
    with _receive_webhooks() as receiver:
        preparer = SamplePreparer(stack, receiver.url)
        prepared = preparer.prepare(_name_sample(event_file), event_file.read_text(encoding="utf-8"))
        for note in prepared.notes:
            screen.print(f"[dim]prepared[/] {escape(note)}")
        invocation = _Invocation(
            stack, function, built, engine, _list_ports(stack, receiver), folder.path / "invoke"
        )
        output, exit_code = invocation.run(prepared, environment)
        outcome = read_outcome(output, exit_code)
        if outcome.response is not None:
            screen.console.print(escape(format_response(outcome.response)), soft_wrap=True)
        if outcome.failure is None:
            _show_effects(screen, preparer, prepared, receiver)
    if outcome.failure is not None:
        raise LocalError(outcome.failure)
    return 0


@dataclass(frozen=True)
class _Invocation:
    """One run of a function. `folder` gets the files that the container needs, the socket included."""

    stack: Stack
    function: str
    built: Path
    engine: DockerEngine
    ports: tuple[int, ...]
    folder: Path

    @property
    def logical_id(self) -> str:
        return f"{self.function.capitalize()}Function"

    @property
    def code_folder(self) -> Path:
        return self.folder / self.logical_id

    def run(self, prepared: PreparedSample, environment: Mapping[str, str]) -> tuple[str, int]:
        """Return the standard output and the exit code of SAM; its log goes to this command's."""
        self._copy_code(prepared)
        event_file = self.folder / "event.json"
        event_file.write_text(prepared.event, encoding="utf-8")
        event_file.chmod(0o600)  # It may have an API key.
        with self._serve_relay():
            result = subprocess.run(
                [
                    *(str(build.SAM_BIN / "sam"), "local", "invoke", self.logical_id),
                    *("--template-file", str(self._write_template())),
                    *("--event", str(event_file), "--config-file", str(_write_empty_config(self.folder))),
                    *(["--skip-pull-image"] if os.environ.get("INVOKE_SKIP_PULL") else []),
                ],
                env=dict(environment),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                check=False,
            )
        return result.stdout, result.returncode

    def _copy_code(self, prepared: PreparedSample) -> None:
        shutil.rmtree(self.code_folder, ignore_errors=True)
        shutil.copytree(self.built.parent / self.logical_id, self.code_folder)
        shutil.copyfile(container.__file__, self.code_folder / f"{HANDLER_MODULE}.py")
        (self.code_folder / _CLOCK_FILE).write_text(str(prepared.clock_offset_seconds), encoding="utf-8")

    def _serve_relay(self) -> contextlib.AbstractContextManager[None]:
        if self.engine.is_on_this_machine:
            return serve_relay(self.code_folder / RELAY_SOCKET, self.ports)
        return contextlib.nullcontext()

    def _write_template(self) -> Path:
        deployed_name = self.stack.function_names[self.function]
        lambda_client = self.stack.get_client("lambda")
        deployed = lambda_client.get_function_configuration(FunctionName=deployed_name)
        template = build_invoke_template(
            load_yaml(self.built.read_text(encoding="utf-8")),
            self.logical_id,
            build_folder=self.built.parent,
            code_folder=self.code_folder,
            deployed=deployed,
            variables=self._build_variables(deployed),
            endpoint_url=self.stack.endpoint_url,
            architecture=build.get_host_architecture(),
        )
        path = self.folder / "template.yaml"
        path.write_text(dump_yaml(template), encoding="utf-8")
        return path

    def _build_variables(self, deployed: Mapping[str, Any]) -> dict[str, str]:
        """Return the variables of the deployed function, with the container's own files."""
        variables: dict[str, str] = deployed["Environment"]["Variables"]
        return adapt_to_samples(variables, _CODE_FOLDER_IN_CONTAINER / _CLOCK_FILE) | {
            container.RELAY_VARIABLE: self.engine.relay_target,
            container.PORTS_VARIABLE: ",".join(map(str, self.ports)),
        }


def _check_function(function: str) -> None:
    if function not in MAIN_SAMPLES:
        raise LocalError(f"no function {function}; the functions are {', '.join(MAIN_SAMPLES)}")


def _find_event_file(function: str, event: str | None) -> Path:
    path = ROOT / (event or f"events/{function}/{MAIN_SAMPLES[function]}.json")
    if not path.is_file():
        events = sorted(str(found.relative_to(ROOT)) for found in (ROOT / "events" / function).glob("*.json"))
        raise LocalError(f"no event file {event}; the events of {function} are {', '.join(events)}")
    return path


def _name_sample(event_file: Path) -> str:
    return f"{event_file.parent.name}/{event_file.stem}"


def _build_environment() -> dict[str, str]:
    """Return the environment of SAM, which passes its AWS credentials on to the container."""
    environment = emulator.build_tool_environment("http://127.0.0.1:9")
    del environment["AWS_ENDPOINT_URL"]  # SAM itself calls no AWS service.
    return environment | {"PATH": f"{build.SAM_BIN}:{environment.get('PATH', '')}"}


def _load_running_stack(folder: StackFolder) -> Stack:
    stack = Stack.load(folder)
    down = [server.name for server in servers.list_servers(folder) if server.url is None]
    if down:
        raise LocalError(
            f"not running: {', '.join(down)}; `make up{folder.make_argument}` restarts what is missing"
        )
    return stack


def _write_empty_config(folder: Path) -> Path:
    """Write an empty configuration, so that the settings for AWS in samconfig.toml do not apply."""
    path = folder / "samconfig.toml"
    path.write_text("version = 0.1\n", encoding="utf-8")
    return path


@contextlib.contextmanager
def _receive_webhooks() -> Iterator[_Receiver]:
    receiver = _Receiver()
    with receive_webhooks(receiver.receive) as origin:
        receiver.url = f"{origin}/webhooks"
        yield receiver


def _list_ports(stack: Stack, receiver: _Receiver) -> tuple[int, ...]:
    """Return the ports of this machine's loopback that the function may use."""
    urls = (stack.endpoint_url, stack.simulator_url, stack.cdn_url, receiver.url)
    return tuple(port for url in urls if (port := urlsplit(url).port))


def _show_effects(
    screen: Screen, preparer: SamplePreparer, prepared: PreparedSample, receiver: _Receiver
) -> None:
    """Show what has become of the job or the batch, and the webhook that this command received."""
    if prepared.batch is not None:
        batch = preparer.find_batch(prepared.batch)
        if batch is not None and batch.large is not None:
            created = f"{batch.large.created} predictions created"
            screen.print(f"[green]✓[/] batch {batch.id}: expanding → {batch.large.phase}, {created}")
    job = prepared.job
    if job is not None and not job.is_terminal:

        def find_changed() -> str | None:
            current = preparer.find_job(job)
            return current.status if current and current.status is not job.status else None

        with contextlib.suppress(LocalError):
            status = waiting.wait_for(
                find_changed, timeout_seconds=_JOB_TIMEOUT_SECONDS, description="a change of the job"
            )
            screen.print(f"[green]✓[/] job {job.id}: {job.status} → {status}")
    if prepared.waits_for_webhook:
        if receiver.arrived.wait(_WEBHOOK_TIMEOUT_SECONDS):
            body = receiver.bodies[0]
            screen.print(f"[green]✓[/] webhook received: {body.get('id')} is {body.get('status')}")
        else:
            screen.print(f"[yellow]no webhook arrived within {_WEBHOOK_TIMEOUT_SECONDS:.0f} s[/]")
