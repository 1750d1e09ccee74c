"""Leases of functions that must not run twice at the same time (`aws.lease`)."""

from tools.local.stack import Stack


def end_lease(stack: Stack, name: str) -> None:
    """End the lease `batches` or `sweep`, which a function that has crashed still holds for a while."""
    stack.get_client("dynamodb").delete_item(
        TableName=stack.outputs["ControlTableName"], Key={"pk": {"S": f"LEASE#{name}"}}
    )
