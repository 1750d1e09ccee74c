"""Fault injection on the local stack: crashes at checkpoints, and failing AWS calls.

The local setting `faults_file` names a JSON file with probabilities. A deployment to AWS has no local
settings and therefore no faults. The file is read again whenever it changes:

    {"crash": {"dispatch.job_claimed": 0.05, "*": 0.01},
     "aws_rejected": {"dynamodb": 0.01, "s3": 0.01, "sqs": 0.01, "events": 0.01},
     "aws_response_lost": {"dynamodb": 0.005},
     "aws_exempt_functions": ["-notify"],
     "log": "/path/faults.jsonl"}

crash: the process ends at a checkpoint.
aws_rejected: an AWS call fails before it has an effect.
aws_response_lost: an AWS call has its effect, but its response does not arrive.
aws_exempt_functions: functions whose name ends with one of these have no failing AWS calls.
log: file to which each injected fault appends a line.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ReadTimeoutError

from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.config import LocalSettings


_CRASH_EXIT_CODE = 86
# Error code and status of a rejected call, by service
_REJECTIONS = {
    "dynamodb": ("ProvisionedThroughputExceededException", 400),
    "s3": ("SlowDown", 503),
    "sqs": ("ThrottlingException", 400),
    "events": ("ThrottlingException", 400),
}


@dataclass
class FaultPlan:
    """The content of the faults file."""

    path: Path
    _modified_at: int = -1
    _content: Mapping[str, Any] = field(default_factory=dict)
    # Not seeded: which process meets a fault depends on timing anyway.
    _random: random.Random = field(default_factory=random.SystemRandom)

    def should_fail(self, kind: str, name: str) -> bool:
        """Return whether to inject a fault now; if so, it is logged already."""
        if kind != "crash" and self._is_exempt_function():
            return False
        probabilities = self._load().get(kind, {})
        if self._random.random() >= float(probabilities.get(name, probabilities.get("*", 0))):
            return False
        self._log({"kind": kind, "name": name})
        return True

    def _is_exempt_function(self) -> bool:
        function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        return function_name.endswith(tuple(self._load().get("aws_exempt_functions", ())))

    def _load(self) -> Mapping[str, Any]:
        """Return the content, empty if the file does not exist or is being written."""
        try:
            modified_at = self.path.stat().st_mtime_ns
            if modified_at != self._modified_at:
                self._content = json.loads(self.path.read_text("utf-8"))
                self._modified_at = modified_at
        except (OSError, ValueError):
            return {}
        return self._content

    def _log(self, fault: Mapping[str, str]) -> None:
        with Path(self._load()["log"]).open("a", encoding="utf-8") as log:
            log.write(json.dumps(fault) + "\n")


def load_fault_plan(settings: LocalSettings) -> FaultPlan | None:
    """Return the fault plan of the local stack, None on AWS."""
    return FaultPlan(Path(settings.faults_file)) if settings.faults_file else None


def build_checkpoint(plan: FaultPlan | None) -> Checkpoint:
    """Return a checkpoint that ends the process if the plan says so, as a crash or a timeout would."""
    if plan is None:
        return no_checkpoint

    def checkpoint(name: str) -> None:
        if plan.should_fail("crash", name):
            os._exit(_CRASH_EXIT_CODE)

    return checkpoint


def inject_aws_faults(client: Any, service: str, plan: FaultPlan) -> None:
    """Make calls of a botocore client fail if the plan says so."""

    def reject_call(**_: Any) -> tuple[Any, Mapping[str, Any]] | None:
        if not plan.should_fail("aws_rejected", service):
            return None
        code, status = _REJECTIONS[service]
        metadata = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}
        error = {"Code": code, "Message": "injected"}
        return _Rejection(status), {"Error": error, "ResponseMetadata": metadata}

    def lose_response(**_: Any) -> None:
        if plan.should_fail("aws_response_lost", service):
            raise ReadTimeoutError(endpoint_url=f"{service} (injected)")

    if service not in _REJECTIONS:
        return
    client.meta.events.register(f"before-call.{service}", reject_call)
    client.meta.events.register(f"after-call.{service}", lose_response)


@dataclass(frozen=True)
class _Rejection:
    """The part of an HTTP response that botocore reads."""

    status_code: int
