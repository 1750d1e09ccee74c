"""The operations of SSM's parameter store: values by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.calls import Service, operation
from tools.simulation.aws.errors import RejectedError, validation_error
from tools.simulation.aws.queue_names import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.aws.calls import Parameters, Response

# Size of a standard parameter (AWS Systems Manager API reference, PutParameter)
_MAX_VALUE_BYTES = 4096


class InMemorySsm(Service):
    """SecureStrings by name."""

    name = "ssm"

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._parameters: dict[str, dict[str, Any]] = {}

    def put(self, name: str, value: str) -> None:
        """Store a parameter as an operator does, without passing the gate."""
        self.put_parameter({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": True})

    @operation("Name", optional=("WithDecryption",))
    def get_parameter(self, parameters: Parameters) -> Response:
        stored = self._parameters.get(parameters["Name"])
        if stored is None:
            raise RejectedError("ParameterNotFound", f"Parameter {parameters['Name']} not found.")
        if not parameters.get("WithDecryption"):
            raise NotImplementedError("the in-memory SSM returns decrypted values only")
        return {"Parameter": dict(stored)}

    @operation("Name", "Value", optional=("Overwrite", "Type"), is_write=True)
    def put_parameter(self, parameters: Parameters) -> Response:
        name, value = parameters["Name"], parameters["Value"]
        stored = self._parameters.get(name)
        if stored is not None and not parameters.get("Overwrite"):
            raise RejectedError("ParameterAlreadyExists", "The parameter already exists.")
        if parameters.get("Type", "SecureString") != "SecureString":
            raise NotImplementedError("the in-memory SSM handles Type=SecureString only")
        if not 1 <= len(value.encode()) <= _MAX_VALUE_BYTES:
            raise validation_error(
                f"Standard tier parameters support a maximum value of {_MAX_VALUE_BYTES} characters."
            )
        version = (stored["Version"] if stored else 0) + 1
        self._parameters[name] = {
            "Name": name,
            "Type": "SecureString",
            "Value": value,
            "Version": version,
            "LastModifiedDate": datetime.fromtimestamp(self._now(), UTC),
            "ARN": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}",
            "DataType": "text",
        }
        return {"Version": version, "Tier": "Standard"}

    @operation("Name", is_write=True)
    def delete_parameter(self, parameters: Parameters) -> Response:
        if self._parameters.pop(parameters["Name"], None) is None:
            raise RejectedError("ParameterNotFound", f"Parameter {parameters['Name']} not found.")
        return {}
