"""What runs and what waits: processes, functions, queues, dead-letter queues."""

from typing import Any

from rich.table import Table

from tools.local import servers
from tools.local.errors import LocalError
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack

_MESSAGES = "ApproximateNumberOfMessages"
_DEPTH = (_MESSAGES, f"{_MESSAGES}NotVisible", f"{_MESSAGES}Delayed")


def show_status(home: StackFolder, screen: Screen) -> None:
    """Raises `LocalError` where a server of the stack is down."""
    stack = Stack.load(home)
    screen.console.print(processes(home))
    dead = [server.name for server in servers.list_servers(home) if server.url is None]
    if dead:
        raise LocalError(f"{', '.join(dead)} does not answer; `make up` heals the stack")
    screen.console.print(queues(stack), functions(stack))
    how = "webhooks" if stack.webhooks_enabled else "polling"
    screen.print(f"Replicate {stack.upstream_url} (by {how})")
    screen.print(f"API       {stack.api_url}\nAPI key   {stack.api_key}")


def processes(home: StackFolder) -> Table:
    table = Table("process", "pid", "address", "log", title="Servers", title_justify="left")
    for server in servers.list_servers(home):
        process = server.daemon.process
        table.add_row(
            server.name,
            str(process.pid) if process else "-",
            server.url or "[red]down[/]",
            str(home.get_log_file(server.name)),
        )
    return table


def queues(stack: Stack) -> Table:
    """Each queue beside its dead-letter queue; dead letters are red."""
    sqs = stack.get_client("sqs")
    table = Table("queue", "waiting", "in flight", "delayed", title="Queues", title_justify="left")
    for output in sorted(name for name in stack.outputs if name.endswith("QueueUrl")):
        waiting, flying, delayed = count_messages(sqs, stack.outputs[output])
        colour = "red" if "DeadLetter" in output and waiting else "default"
        table.add_row(output.removesuffix("Url"), f"[{colour}]{waiting}[/]", str(flying), str(delayed))
    return table


def count_messages(sqs: Any, url: str) -> tuple[int, int, int]:
    """(waiting, in flight, delayed) messages of one queue."""
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_DEPTH))["Attributes"]
    waiting, flying, delayed = (int(attributes[name]) for name in _DEPTH)
    return waiting, flying, delayed


def functions(stack: Stack) -> Table:
    lambdas = stack.get_client("lambda")
    table = Table("function", "memory", "timeout", "state", title="Functions", title_justify="left")
    for short, name in stack.function_names.items():
        configuration = lambdas.get_function_configuration(FunctionName=name)
        table.add_row(
            short,
            f"{configuration['MemorySize']} MB",
            f"{configuration['Timeout']} s",
            configuration.get("State", "Active"),
        )
    return table
