"""An in-memory AWS at the level of boto3's low-level clients, for the simulation.

It holds what the adapters in `replicate_proxy.aws` use; a call with an operation or parameter that it does
not handle raises NotImplementedError. It never reads the clock and takes no random numbers: the same calls at
the same virtual times give the same responses.
"""

from tools.simulation.aws.aws import InMemoryAws
from tools.simulation.aws.calls import Call, Choices, Gate, NoAnomalies, Perform
from tools.simulation.aws.queue import Message, Queue, choose_fairly

__all__ = [
    "Call",
    "Choices",
    "Gate",
    "InMemoryAws",
    "Message",
    "NoAnomalies",
    "Perform",
    "Queue",
    "choose_fairly",
]
