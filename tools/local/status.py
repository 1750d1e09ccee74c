"""`make status`: the servers, functions, queues and dead-letter queues of a local stack."""

from typing import Any, NamedTuple

from rich.table import Table

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
    """Show the tables. Raises `LocalError` if a server of the stack is down."""
    stack = Stack.load(folder)
    screen.console.print(_build_server_table(folder))
    down = [server.name for server in servers.list_servers(folder) if server.url is None]
    if down:
        raise LocalError(f"not running: {', '.join(down)}; `make up` restarts what is missing")
    screen.console.print(_build_queue_table(stack), _build_function_table(stack))
    channel = "webhooks" if stack.webhooks_enabled else "polling"
    screen.print(f"Replicate {stack.upstream_url} (by {channel})")
    screen.print(f"API       {stack.api_url}\nAPI key   {stack.api_key}")


def count_messages(sqs: Any, queue_url: str) -> MessageCounts:
    """Return the approximate numbers of messages in a queue."""
    name = "ApproximateNumberOfMessages"
    names = [name, f"{name}NotVisible", f"{name}Delayed"]
    attributes = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
    return MessageCounts(*(int(attributes[name]) for name in names))


def _build_server_table(folder: StackFolder) -> Table:
    table = Table("server", "PID", "address", "log", title="Servers", title_justify="left")
    for server in servers.list_servers(folder):
        process = server.daemon.process
        table.add_row(
            server.name,
            str(process.pid) if process else "-",
            server.url or "[red]down[/]",
            str(folder.get_log_file(server.name)),
        )
    return table


def _build_queue_table(stack: Stack) -> Table:
    """List each queue beside its dead-letter queue; numbers of dead letters are red."""
    sqs = stack.get_client("sqs")
    table = Table("queue", "waiting", "in flight", "delayed", title="Queues", title_justify="left")
    for output in sorted(name for name in stack.outputs if name.endswith("QueueUrl")):
        counts = count_messages(sqs, stack.outputs[output])
        color = "red" if "DeadLetter" in output and counts.waiting else "default"
        table.add_row(
            output.removesuffix("Url"),
            f"[{color}]{counts.waiting}[/]",
            str(counts.in_flight),
            str(counts.delayed),
        )
    return table


def _build_function_table(stack: Stack) -> Table:
    lambda_client = stack.get_client("lambda")
    table = Table("function", "memory", "timeout", "state", title="Functions", title_justify="left")
    for short_name, name in stack.function_names.items():
        configuration = lambda_client.get_function_configuration(FunctionName=name)
        table.add_row(
            short_name,
            f"{configuration['MemorySize']} MB",
            f"{configuration['Timeout']} s",
            configuration.get("State", "Active"),
        )
    return table
