import os
import shlex
from collections.abc import Mapping
from types import ModuleType

import pytest

from proxyctl.connection import Connection
from tools.local import __main__ as local
from tools.local.__main__ import main
from tools.local.demo import run as demo
from tools.local.errors import LocalError
from tools.local.paths import StackFolder
from tools.local.servers import Server
from tools.local.stack import Stack

pytestmark = pytest.mark.usefixtures("stack_folder")


def save_stack(stack_folder: StackFolder) -> None:
    Stack(
        stack_name="s",
        region="r",
        endpoint_url="e",
        api_url="http://127.0.0.1:1/local",
        simulator_url="s",
        cdn_url="c",
        api_key="rp_key",
        admin_key="it's",
        upstream_url="u",
        webhooks_enabled=True,
    ).save(stack_folder)


@pytest.mark.parametrize("name", ["a/b", "..", "", "Test", "a b"])
def test_name_that_is_no_file_name_is_rejected_before_anything_starts(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--name", name, "demo"]) == 1
    assert f"error: not a name of a stack: {name};" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "logs", "proxyctl", "env-vars"])
def test_command_suggests_make_up_when_no_stack_is_running(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == 1
    assert capsys.readouterr().err == "error: no local stack is running; run `make up` first\n"


@pytest.mark.parametrize(("module", "command"), [(local, "up"), (demo, "demo")])
def test_command_of_the_developer_takes_the_upstream_of_the_environment(
    module: ModuleType, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments: list[Mapping[str, str]] = []

    def start_stack(*_: object, environment: Mapping[str, str]) -> None:
        environments.append(environment)
        raise LocalError("the test ends here")

    monkeypatch.setattr(module, "start_stack", start_stack)

    assert main([command]) == 1
    assert environments == [os.environ]


def test_down_succeeds_when_nothing_is_running(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down"]) == 0
    assert "all processes of the stack are stopped" in capsys.readouterr().out


def test_invoke_lists_the_events_of_the_function_when_event_is_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["invoke", "ingest", "events/ingest/none.json"]) == 1
    assert (
        "no event file events/ingest/none.json; the events of ingest are events/ingest/"
        in capsys.readouterr().err
    )


def test_invoke_reports_missing_docker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")

    assert main(["invoke", "ingest"]) == 1
    assert "`sam local invoke` needs Docker" in capsys.readouterr().err


def test_invoke_lists_the_functions_when_function_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invoke", "nope"]) == 1
    assert "no function nope; the functions are admin, authorize, " in capsys.readouterr().err


def test_proxyctl_runs_on_the_stack_with_its_arguments(
    stack_folder: StackFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []

    def record(arguments: list[str], connection: Connection) -> int:
        runs.append((arguments, connection))
        return 2

    monkeypatch.setattr("tools.local.__main__.proxyctl.main", record)
    save_stack(stack_folder)

    arguments = ["keys", "create", "acme", "--name", "backend", "--json"]
    assert main(["--name", stack_folder.name, "proxyctl", *arguments]) == 2
    [(given, connection)] = runs
    assert given == arguments
    assert (connection.url, connection.admin_key) == ("http://127.0.0.1:1/local", "it's")


def test_status_shows_servers_that_run_before_the_deployment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        Server, "url", property(lambda server: "http://127.0.0.1:1" if server.name == "replicate" else None)
    )

    assert main(["--name", "unit", "status"]) == 1
    output, errors = capsys.readouterr()
    assert "http://127.0.0.1:1" in output
    assert errors == (
        "error: nothing is deployed; `make up LOCAL_STACK=unit` continues, "
        "`make down LOCAL_STACK=unit` stops the servers\n"
    )


def test_interruption_names_the_servers_that_run_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tools.local.__main__.run_demo", interrupt)
    monkeypatch.setattr("tools.local.__main__.list_running_servers", lambda _: ["ministack", "replicate"])

    assert main(["demo"]) == 130
    message = "interrupted; still running: ministack, replicate; `make down` stops them\n"
    assert capsys.readouterr().err == message


def test_up_refuses_an_unknown_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--parameter", "Nope=1"]) == 1
    assert "template.yaml has no parameter Nope" in capsys.readouterr().err


def test_env_vars_are_commands_for_a_shell(
    stack_folder: StackFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    save_stack(stack_folder)

    assert main(["--name", stack_folder.name, "env-vars"]) == 0
    assert shlex.split(capsys.readouterr().out) == [
        "export",
        "API=http://127.0.0.1:1/local",
        "KEY=rp_key",
        "ADMIN_KEY=it's",
    ]
