"""The worker of large batches on a local stack: run it now, whatever has become of an earlier run."""

from tools.local.stack import Stack


def start_worker(stack: Stack) -> None:
    """Have the worker run, as ingest and the sweep do."""
    stack.get_client("lambda").invoke(
        FunctionName=stack.function_names["batch"], InvocationType="Event", Payload=b"{}"
    )


def end_lease(stack: Stack) -> None:
    """End the lease of the worker, which one that has crashed holds for another minute."""
    stack.get_client("dynamodb").delete_item(
        TableName=stack.outputs["ControlTableName"], Key={"pk": {"S": "LEASE#batches"}}
    )
