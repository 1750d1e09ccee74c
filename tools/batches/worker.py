"""The worker of large batches on a local stack."""

from tools.local.stack import Stack


def start_worker(stack: Stack) -> None:
    """Have the worker run, as ingest and the sweep do."""
    stack.get_client("lambda").invoke(
        FunctionName=stack.function_names["batch"], InvocationType="Event", Payload=b"{}"
    )
