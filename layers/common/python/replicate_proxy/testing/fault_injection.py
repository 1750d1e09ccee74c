"""Faults on demand, for the local stack alone: crashes at marked step boundaries, failing AWS calls.

`LOCAL_SETTINGS` may name a `faults_file`; `config.local_settings` reads that variable only where the AWS
endpoint is on loopback, so a deployment to AWS cannot carry any of this. The file is read anew whenever it
changes:

    {"crash": {"dispatch.job_claimed": 0.05, "*": 0.01},
     "aws": {"dynamodb": 0.01, "s3": 0.01, "sqs": 0.01, "events": 0.01},
     "aws_answer": {"dynamodb": 0.005},
     "aws_spares": ["NotifyFunction"],
     "log": "/path/faults.jsonl"}

Numbers are probabilities: of a crash at a step boundary, of an AWS call refused before it does anything, of
an AWS call whose answer is lost after it did. Functions whose name holds a word of `aws_spares` keep all
their calls. Each fault that strikes appends a line to `log`.
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


_CRASH_EXIT = 86
_THROTTLED = {
    "dynamodb": ("ProvisionedThroughputExceededException", 400),
    "s3": ("SlowDown", 503),
    "sqs": ("ThrottlingException", 400),
    "events": ("ThrottlingException", 400),
}


@dataclass
class FaultPlan:
    """The faults file, read again when its time of change moves."""

    path: Path
    _read_at: int = -1
    _faults: Mapping[str, Any] = field(default_factory=dict)
    # Which process is struck is chance by nature; the run's seed decides the upstream's faults and the jobs.
    _random: random.Random = field(default_factory=random.SystemRandom)

    def load(self) -> Mapping[str, Any]:
        try:
            changed_at = self.path.stat().st_mtime_ns
            if changed_at != self._read_at:
                self._faults = json.loads(self.path.read_text("utf-8"))
                self._read_at = changed_at
        except (OSError, ValueError):
            return {}
        return self._faults

    def should_fail(self, kind: str, name: str) -> bool:
        """Whether the fault strikes this time; if so it is on record before it does."""
        if kind != "crash" and self._is_spared():
            return False
        rates = self.load().get(kind, {})
        if self._random.random() >= float(rates.get(name, rates.get("*", 0))):
            return False
        self._record({"kind": kind, "name": name})
        return True

    def _is_spared(self) -> bool:
        function = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
        return any(word in function for word in self.load().get("aws_spares", ()))

    def _record(self, line: Mapping[str, str]) -> None:
        with Path(self.load()["log"]).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


def load_fault_plan(settings: LocalSettings) -> FaultPlan | None:
    """Return the fault plan of the local stack, None on AWS."""
    return FaultPlan(Path(settings.faults_file)) if settings.faults_file else None


def build_checkpoint(plan: FaultPlan | None) -> Checkpoint:
    """Ends the process on the spot, as a crash or a timeout would, where the plan says so."""
    if plan is None:
        return no_checkpoint

    def checkpoint(name: str) -> None:
        if plan.should_fail("crash", name):
            os._exit(_CRASH_EXIT)

    return checkpoint


def inject_aws_faults(client: Any, service: str, plan: FaultPlan) -> None:
    """Makes calls of a botocore client fail as the plan says."""

    def before(**_: Any) -> tuple[Any, Mapping[str, Any]] | None:
        if not plan.should_fail("aws", service):
            return None
        code, status = _THROTTLED[service]
        metadata = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}
        error = {"Code": code, "Message": "injected"}
        return _Refused(status), {"Error": error, "ResponseMetadata": metadata}

    def after(**_: Any) -> None:
        if plan.should_fail("aws_answer", service):
            raise ReadTimeoutError(endpoint_url=f"{service} (injected)")

    if service not in _THROTTLED:
        return
    client.meta.events.register(f"before-call.{service}", before)
    client.meta.events.register(f"after-call.{service}", after)


@dataclass(frozen=True)
class _Refused:
    """As much of an HTTP response as botocore looks at."""

    status_code: int
