"""The task of the admin function that works on erasures and bulk operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.simulation.functions.bulk_operations import build_bulk_worker
from tools.simulation.functions.erasures import build_erasure_worker

if TYPE_CHECKING:
    from replicate_proxy.operations.bulk.worker import BulkWorker
    from replicate_proxy.operations.erasure.worker import ErasureWorker
    from tools.simulation.functions.components import Components


@dataclass(frozen=True)
class OperationWorker:
    """What one invocation runs, one after the other."""

    erasures: ErasureWorker
    bulk: BulkWorker


def build_operation_worker(components: Components) -> OperationWorker:
    return OperationWorker(build_erasure_worker(components), build_bulk_worker(components))
