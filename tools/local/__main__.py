"""`.venv/bin/python -m tools.local`: the commands behind `make up`, `make demo` and others."""

import argparse
import sys
from collections.abc import Callable, Sequence

from replicate_proxy.errors import ProxyError
from tools.cli import api_keys
from tools.cli.admin_client import AdminClient
from tools.local.build import build_template
from tools.local.demo.run import run_demo
from tools.local.errors import LocalError
from tools.local.invoke.command import invoke_function
from tools.local.keys import DEMO_TENANT
from tools.local.lifecycle import restart_emulator, start_stack, stop_stack, wait_for_process
from tools.local.logs import show_logs
from tools.local.paths import DEFAULT_NAME, StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.local.status import show_status

type Command = Callable[[argparse.Namespace, StackFolder, Screen], int | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: 0 for success, 1 for an error, 130 if interrupted."""
    options = _parse_arguments(arguments)
    command: Command = options.command
    try:
        return command(options, StackFolder(options.name), Screen()) or 0
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the error output of a command
        return 1
    except KeyboardInterrupt:
        return 130


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m tools.local", description="Run and inspect a local stack."
    )
    parser.add_argument("--name", default=DEFAULT_NAME, help="the stack; each has its own folder and ports")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Command, help_text: str) -> argparse.ArgumentParser:
        command_parser = commands.add_parser(name, help=help_text)
        command_parser.set_defaults(command=command)
        return command_parser

    add("build", _build, "build template.yaml with sam build")
    up = add("up", _up, "start and deploy the stack; safe to repeat")
    up.add_argument("--parameter", action="append", default=[], metavar="Key=Value")
    down = add("down", _down, "stop the stack and delete its data")
    down.add_argument("--after", type=int, metavar="PID", help="wait until this process has ended")
    add("restart-emulator", _restart_emulator, "stop the local AWS and start it with its saved state")
    add("status", _status, "show servers, functions and queues")
    logs = add("logs", _logs, "show the log of the functions")
    logs.add_argument("--function")
    logs.add_argument("--follow", action="store_true")
    demo = add("demo", _demo, "run a prediction and show every hop")
    demo.add_argument("--prompt")
    demo.add_argument("--model", metavar="owner/name")
    invoke = add("invoke", _invoke, "run a function with sam local invoke")
    invoke.add_argument("function")
    invoke.add_argument("event", nargs="?", help="an event file; by default the function's main sample")
    key = add("key", _key, "create, list, rotate or revoke API keys through the admin API")
    key.add_argument("arguments", nargs=argparse.REMAINDER, help="the arguments of tools.cli.api_keys")
    return parser.parse_args(arguments)


def _build(_: argparse.Namespace, __: StackFolder, screen: Screen) -> None:
    with screen.step("building: sam build") as finish:
        finish(f"built {build_template()}")


def _up(options: argparse.Namespace, folder: StackFolder, screen: Screen) -> None:
    overrides = dict(pair.split("=", 1) for pair in options.parameter)
    stack = start_stack(folder, screen, overrides)
    screen.print(f"API {stack.api_url}   key {stack.api_key}   (details in {folder.stack_file})")


def _down(options: argparse.Namespace, folder: StackFolder, screen: Screen) -> None:
    if options.after is not None:
        wait_for_process(options.after)
    stop_stack(folder, screen)


def _restart_emulator(_: argparse.Namespace, folder: StackFolder, screen: Screen) -> None:
    with screen.step("restarting the local AWS") as finish:
        restart_emulator(folder)
        finish("the local AWS is running again, with its saved state")


def _status(_: argparse.Namespace, folder: StackFolder, screen: Screen) -> None:
    show_status(folder, screen)


def _logs(options: argparse.Namespace, folder: StackFolder, screen: Screen) -> None:
    show_logs(folder, screen, function=options.function, follow=options.follow)


def _demo(options: argparse.Namespace, folder: StackFolder, screen: Screen) -> int:
    return run_demo(folder, screen, prompt=options.prompt, model=options.model)


def _invoke(options: argparse.Namespace, folder: StackFolder, screen: Screen) -> int:
    return invoke_function(folder, screen, options.function, options.event)


def _key(options: argparse.Namespace, folder: StackFolder, screen: Screen) -> None:
    stack = Stack.load(folder)
    key_options = api_keys.parse_arguments(options.arguments or ["create", DEMO_TENANT])
    try:
        client = AdminClient(stack.api_url, stack.admin_key)
        screen.console.print_json(data=api_keys.run_command(key_options, client))
    except ProxyError as error:
        raise LocalError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
