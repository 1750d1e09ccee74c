"""`make status`: the servers, functions, queues and dead-letter queues of a local stack."""

from typing import Any, NamedTuple

from tools.local import servers
from tools.local.errors import LocalError
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack


class MessageCounts(NamedTuple):
    waiting: int
    in_flight: int
    delayed: int


def show_status(folder: StackFolder, screen: Screen) -> None:
    """Show the tables. Raises `LocalError` if a server of the stack is down, or nothing is deployed."""
    running = list_running_servers(folder)
    if running and not folder.stack_file.exists():
        _show_servers(folder, screen)
        name = folder.make_argument
        raise LocalError(
            f"nothing is deployed; `make up{name}` continues, `make down{name}` stops the servers"
        )
    stack = Stack.load(folder)
    _show_servers(folder, screen)
    down = [server.name for server in servers.list_servers(folder) if server.name not in running]
    if down:
        raise LocalError(
            f"not running: {', '.join(down)}; `make up{folder.make_argument}` restarts what is missing"
        )
    _show_queues(stack, screen)
    _show_functions(stack, screen)
    channel = "webhooks" if stack.webhooks_enabled else "polling"
    screen.print(f"Replicate {stack.upstream_url} (by {channel})")
    screen.print(f"API       {stack.api_url}\nAPI key   {stack.api_key}")


def list_running_servers(folder: StackFolder) -> list[str]:
    """Return the names of the servers that respond."""
    return [server.name for server in servers.list_servers(folder) if server.url is not None]


def count_messages(sqs: Any, queue_url: str) -> MessageCounts:
    """Return the approximate numbers of messages in a queue."""
    name = "ApproximateNumberOfMessages"
    names = [name, f"{name}NotVisible", f"{name}Delayed"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return MessageCounts(*(int(attributes[name]) for name in names))


def _show_servers(folder: StackFolder, screen: Screen) -> None:
    rows = []
    for server in servers.list_servers(folder):
        process = server.daemon.process
        rows.append(
            (
                server.name,
                str(process.pid) if process else "-",
                server.url or "[red]down[/]",
                str(folder.get_log_file(server.name)),
            )
        )
    screen.print_table("Servers", ("server", "PID", "address", "log"), rows)


def _show_queues(stack: Stack, screen: Screen) -> None:
    """List each queue beside its dead-letter queue; numbers of dead letters are red."""
    sqs = stack.get_client("sqs")
    rows = []
    for output in sorted(name for name in stack.outputs if name.endswith("QueueUrl")):
        counts = count_messages(sqs, stack.outputs[output])
        color = "red" if "DeadLetter" in output and counts.waiting else "default"
        waiting = f"[{color}]{counts.waiting}[/]"
        rows.append((output.removesuffix("Url"), waiting, str(counts.in_flight), str(counts.delayed)))
    screen.print_table("Queues", ("queue", "waiting", "in flight", "delayed"), rows)


def _show_functions(stack: Stack, screen: Screen) -> None:
    lambda_client = stack.get_client("lambda")
    rows = []
    for short_name, name in stack.function_names.items():
        configuration = lambda_client.get_function_configuration(FunctionName=name)
        memory, timeout = f"{configuration['MemorySize']} MB", f"{configuration['Timeout']} s"
        rows.append((short_name, memory, timeout, configuration.get("State", "Active")))
    screen.print_table("Functions", ("function", "memory", "timeout", "state"), rows)
