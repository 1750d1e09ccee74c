"""`.venv/bin/python -m tools.local`: the commands behind `make up`, `make demo` and others."""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence

from proxyctl import cli as proxyctl
from proxyctl.connection import Connection
from proxyctl.function_log import LogFilter
from proxyctl.terminal import run_tool
from tools.local.build import build_template
from tools.local.demo.run import run_demo
from tools.local.errors import LocalError
from tools.local.invoke.command import invoke_function
from tools.local.keys import create_sign_in_link
from tools.local.lifecycle import restart_emulator, start_stack, stop_stack, wait_for_process
from tools.local.logs import DEFAULT_SINCE, show_logs
from tools.local.parameters import parse_overrides
from tools.local.paths import DEFAULT_NAME, StackFolder
from tools.local.processes import isolate_process
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.local.status import list_running_servers, show_status

_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells report it."""

type Command = Callable[[argparse.Namespace, StackFolder, Screen], int | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code: 0 for success, 1 for an error, 130 if interrupted."""
    isolate_process()
    options = _parse_arguments(arguments)
    command: Command = options.command
    try:
        return command(options, StackFolder(options.name), Screen()) or 0
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - the error output of a command
        return 1
    except KeyboardInterrupt:
        return _report_interruption(StackFolder(options.name))


def _report_interruption(folder: StackFolder) -> int:
    """Say what runs on after Ctrl-C, and return the exit code."""
    running = list_running_servers(folder)
    if running:
        stop = f"make down{folder.make_argument}"
        message = f"interrupted; still running: {', '.join(running)}; `{stop}` stops them\n"
        sys.stderr.write(message)
    return _INTERRUPTED


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=".venv/bin/python -m tools.local", description="Run and inspect a local stack."
    )
    parser.add_argument("--name", default=DEFAULT_NAME, help="the stack; each has its own folder and ports")
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Command, help_text: str, *, add_help: bool = True) -> argparse.ArgumentParser:
        command_parser = commands.add_parser(name, help=help_text, add_help=add_help)
        command_parser.set_defaults(command=command)
        return command_parser

    add("build", _build, "build template.yaml with sam build")
    up = add("up", _up, "start and deploy the stack; safe to repeat")
    up.add_argument("--parameter", action="append", default=[], metavar="Key=Value")
    down = add("down", _down, "stop the stack and delete its data")
    down.add_argument("--after", type=int, metavar="PID", help="wait until this process has ended")
    add("restart-emulator", _restart_emulator, "stop the local AWS and start it with its saved state")
    add("status", _status, "show servers, functions and queues")
    add("env-vars", _env_vars, "print the shell commands that set API, KEY and ADMIN_KEY")
    logs = add("logs", _logs, "show the log of the functions")
    logs.add_argument("--function")
    logs.add_argument(
        "--job", metavar="ID", help="only entries with this ID, of a job, a message or a request"
    )
    logs.add_argument(
        "--since", default=DEFAULT_SINCE, metavar="TIME", help="like 45s, 30m, 2h, 1d; default 30m"
    )
    logs.add_argument("--reports", action="store_true", help="show Lambda's reports of durations, too")
    logs.add_argument("--follow", action="store_true")
    demo = add("demo", _demo, "run a prediction and show every hop")
    demo.add_argument("--prompt")
    demo.add_argument("--model", metavar="owner/name[:version]")
    demo.add_argument("--input", metavar="JSON", help="an object that is added to the input")
    invoke = add("invoke", _invoke, "run a function with sam local invoke")
    invoke.add_argument("function")
    invoke.add_argument("event", nargs="?", help="an event file; by default the function's main sample")
    # Its arguments, --help included, are those of proxyctl.
    add("proxyctl", _proxyctl, "run proxyctl on the stack", add_help=False)
    options, tool_arguments = parser.parse_known_args(arguments)
    if tool_arguments and options.command is not _proxyctl:
        parser.error(f"unrecognized arguments: {' '.join(tool_arguments)}")
    options.tool_arguments = tool_arguments
    return options


def _build(_: argparse.Namespace, __: StackFolder, screen: Screen) -> None:
    with screen.step("building: sam build") as finish:
        finish(f"built {build_template()}")


def _up(options: argparse.Namespace, folder: StackFolder, screen: Screen) -> None:
    stack = start_stack(folder, screen, parse_overrides(options.parameter), environment=os.environ)
    screen.print(f"API {stack.api_url}   key {stack.api_key}   (details in {folder.stack_file})")
    screen.print(f"console {create_sign_in_link(stack)}   (signs in once)")


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


def _env_vars(_: argparse.Namespace, folder: StackFolder, screen: Screen) -> None:
    stack = Stack.load(folder)
    variables = {"API": stack.api_url, "KEY": stack.api_key, "ADMIN_KEY": stack.admin_key}
    screen.print("export " + " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items()))


def _logs(options: argparse.Namespace, folder: StackFolder, screen: Screen) -> None:
    show_logs(
        folder,
        screen,
        function=options.function,
        since=options.since,
        log_filter=LogFilter(job_id=options.job, with_reports=options.reports),
        follow=options.follow,
    )


def _demo(options: argparse.Namespace, folder: StackFolder, screen: Screen) -> int:
    return run_demo(folder, screen, prompt=options.prompt, model=options.model, input_json=options.input)


def _invoke(options: argparse.Namespace, folder: StackFolder, screen: Screen) -> int:
    return invoke_function(folder, screen, options.function, options.event)


def _proxyctl(options: argparse.Namespace, folder: StackFolder, _: Screen) -> int:
    stack = Stack.load(folder)
    connection = Connection(stack.api_url, stack.admin_key, stack.endpoint_url, stack.region)
    return proxyctl.main(options.tool_arguments, connection)


if __name__ == "__main__":
    sys.exit(run_tool(main))
