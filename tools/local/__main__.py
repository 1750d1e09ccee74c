"""python -m tools.local: the commands behind `make up`, `make demo` and the rest."""

import argparse
import sys
from collections.abc import Sequence

from replicate_proxy.errors import ProxyError
from tools.cli import api_keys
from tools.cli.admin_client import AdminClient
from tools.local.build import build_template
from tools.local.demo.run import run_demo
from tools.local.errors import LocalError
from tools.local.invoke import invoke_function
from tools.local.keys import DEMO_TENANT
from tools.local.lifecycle import restart_emulator, start_stack, stop_stack
from tools.local.logs import show_logs
from tools.local.paths import DEFAULT_NAME, StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.local.status import show_status


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 done, 1 it failed and said why, 130 interrupted."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options, StackFolder(options.name), Screen()) or 0)
    except LocalError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - a command line's error
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="python -m tools.local", description=__doc__)
    root.add_argument("--name", default=DEFAULT_NAME, help="which stack; each has its own folder and ports")
    commands = root.add_subparsers(required=True, metavar="command")

    def add(name: str, run: object, help_text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text)
        command.set_defaults(run=run)
        return command

    add("build", _build, "sam build of template.yaml")
    started = add("up", _up, "start and deploy; safe to repeat")
    started.add_argument("--parameter", action="append", default=[], metavar="Key=Value")
    add("down", _down, "end everything")
    add("restart-aws", _restart_aws, "end the emulator in good order and start it with its state")
    add("status", _status, "processes, queues, functions")
    logs_options = add("logs", _logs, "what the functions logged")
    logs_options.add_argument("--function")
    logs_options.add_argument("--follow", action="store_true")
    demo_options = add("demo", _demo, "run the main job and show every hop")
    demo_options.add_argument("--prompt")
    demo_options.add_argument("--model", metavar="owner/name")
    invoke_options = add("invoke", _invoke, "sam local invoke")
    invoke_options.add_argument("function")
    invoke_options.add_argument("event")
    key = add("key", _key, "create, list, rotate or revoke API keys, by the admin API")
    key.add_argument("arguments", nargs=argparse.REMAINDER, help="as of tools.cli.api_keys")
    return root


def _build(_: argparse.Namespace, __: StackFolder, screen: Screen) -> None:
    with screen.step("building: sam build") as done:
        done(f"built {build_template()}")


def _up(options: argparse.Namespace, home: StackFolder, screen: Screen) -> None:
    stack = start_stack(home, screen, dict(pair.split("=", 1) for pair in options.parameter))
    screen.print(f"API {stack.api_url}   key {stack.api_key}   (all in {home.stack_file})")


def _down(_: argparse.Namespace, home: StackFolder, screen: Screen) -> None:
    stop_stack(home, screen)


def _restart_aws(_: argparse.Namespace, home: StackFolder, screen: Screen) -> None:
    with screen.step("restarting the local AWS") as done:
        restart_emulator(home, Stack.load(home))
        done("the local AWS answers again, with its state")


def _status(_: argparse.Namespace, home: StackFolder, screen: Screen) -> None:
    show_status(home, screen)


def _logs(options: argparse.Namespace, home: StackFolder, screen: Screen) -> None:
    show_logs(home, screen, function=options.function, follow=options.follow)


def _demo(options: argparse.Namespace, home: StackFolder, screen: Screen) -> int:
    return run_demo(home, screen, prompt=options.prompt, model=options.model)


def _invoke(options: argparse.Namespace, home: StackFolder, screen: Screen) -> int:
    return invoke_function(home, screen, options.function, options.event)


def _key(options: argparse.Namespace, home: StackFolder, screen: Screen) -> None:
    stack = Stack.load(home)
    key_options = api_keys.parse_arguments(options.arguments or ["create", DEMO_TENANT])
    try:
        client = AdminClient(stack.api_url, stack.admin_key)
        screen.console.print_json(data=api_keys.run_command(key_options, client))
    except ProxyError as error:
        raise LocalError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
