"""Faults are injected as the faults file says on the local stack, and never on AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

from replicate_proxy.config import Environment, LocalSettings
from replicate_proxy.testing import fault_injection
from replicate_proxy.testing.checkpoints import no_checkpoint
from replicate_proxy.testing.fault_injection import (
    FaultPlan,
    build_checkpoint,
    inject_aws_faults,
    load_fault_plan,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from types_boto3_sqs import SQSClient

LAYER = Path(fault_injection.__file__).parents[2]


@pytest.fixture
def plan(tmp_path: Path) -> FaultPlan:
    return FaultPlan(tmp_path / "faults.json")


@pytest.fixture
def sqs() -> Iterator[SQSClient]:
    with mock_aws():
        yield boto3.client("sqs")


def write_faults(plan: FaultPlan, **faults: Mapping[str, float] | Sequence[str]) -> Path:
    """Write the faults file and return the path of its log."""
    log = plan.path.with_name("log.jsonl")
    plan.path.write_text(json.dumps({**faults, "log": str(log)}), encoding="utf-8")
    return log


def read_log(log: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []


class TestActivation:
    def test_no_local_settings_give_no_plan(self) -> None:
        assert load_fault_plan(LocalSettings()) is None
        assert build_checkpoint(None) is no_checkpoint

    @pytest.mark.parametrize(
        "endpoint",
        [
            None,
            "",
            "https://sqs.eu-central-1.amazonaws.com",
            "http://10.0.0.7:4566",
            "http://127.0.0.1.example.com:4566",
            "http://example.com/?127.0.0.1",
            "http://127.0.0.1@example.com",
        ],
    )
    def test_settings_are_ignored_unless_aws_endpoint_is_on_loopback(self, endpoint: str | None) -> None:
        variables = {"LOCAL_SETTINGS": json.dumps({"faults_file": "/faults.json"})}
        if endpoint is not None:
            variables["AWS_ENDPOINT_URL"] = endpoint

        assert load_fault_plan(Environment(variables).local_settings()) is None

    def test_settings_apply_if_aws_endpoint_is_on_loopback(self) -> None:
        variables = {
            "LOCAL_SETTINGS": json.dumps({"faults_file": "/faults.json"}),
            "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
        }

        plan = load_fault_plan(Environment(variables).local_settings())
        assert plan is not None
        assert plan.path == Path("/faults.json")

    def test_checkpoint_crashes_on_local_stack_only(self, tmp_path: Path) -> None:
        file = tmp_path / "faults.json"
        file.write_text(json.dumps({"crash": {"*": 1}, "log": str(tmp_path / "log")}), encoding="utf-8")

        on_aws = run_checkpoint(file, "https://dynamodb.us-east-1.amazonaws.com")
        on_local_stack = run_checkpoint(file, "http://127.0.0.1:4566")

        assert (on_aws.returncode, on_aws.stdout) == (0, "alive\n")
        assert (on_local_stack.returncode, on_local_stack.stdout) == (86, "")


class TestFaultsFile:
    def test_missing_file_injects_nothing(self, plan: FaultPlan) -> None:
        assert not plan.should_fail("crash", "dispatch.job_claimed")

    def test_malformed_file_injects_nothing(self, plan: FaultPlan) -> None:
        plan.path.write_text("{", encoding="utf-8")

        assert not plan.should_fail("crash", "dispatch.job_claimed")

    def test_named_probability_overrides_wildcard(self, plan: FaultPlan) -> None:
        write_faults(plan, crash={"dispatch.job_claimed": 0, "*": 1})

        assert not plan.should_fail("crash", "dispatch.job_claimed")
        assert plan.should_fail("crash", "dispatch.prediction_created")

    def test_kind_without_probabilities_injects_nothing(self, plan: FaultPlan) -> None:
        write_faults(plan, crash={"*": 1})

        assert not plan.should_fail("aws_rejected", "sqs")

    @pytest.mark.parametrize(
        ("function", "is_exempt"),
        [("replicate-proxy-notify", True), ("my-notify-ingest", False), ("", False)],
    )
    def test_exempt_function_has_crashes_only(
        self, plan: FaultPlan, monkeypatch: pytest.MonkeyPatch, *, function: str, is_exempt: bool
    ) -> None:
        write_faults(plan, crash={"*": 1}, aws_rejected={"*": 1}, aws_exempt_functions=["-notify", "-usage"])
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", function)

        assert plan.should_fail("aws_rejected", "dynamodb") is not is_exempt
        assert plan.should_fail("crash", "notify.deliveries_stored")

    def test_injected_fault_is_logged(self, plan: FaultPlan) -> None:
        log = write_faults(plan, crash={"*": 1})

        plan.should_fail("crash", "track.change_stored")

        assert read_log(log) == [{"kind": "crash", "name": "track.change_stored"}]

    def test_changed_file_is_read_again(self, plan: FaultPlan) -> None:
        write_faults(plan, crash={"*": 1})
        assert plan.should_fail("crash", "track.change_stored")

        write_faults(plan, crash={"*": 0})
        os.utime(plan.path, ns=(1, 1))

        assert not plan.should_fail("crash", "track.change_stored")


class TestAwsFaults:
    def test_rejected_call_has_no_effect(self, plan: FaultPlan, sqs: SQSClient) -> None:
        url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
        log = write_faults(plan, aws_rejected={"sqs": 1})
        inject_aws_faults(sqs, "sqs", plan)

        with pytest.raises(ClientError, match="ThrottlingException"):
            sqs.send_message(QueueUrl=url, MessageBody="lost")

        write_faults(plan)
        os.utime(plan.path, ns=(1, 1))
        assert "Messages" not in sqs.receive_message(QueueUrl=url)
        assert read_log(log) == [{"kind": "aws_rejected", "name": "sqs"}]

    def test_call_with_lost_response_has_its_effect(self, plan: FaultPlan, sqs: SQSClient) -> None:
        url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
        write_faults(plan, aws_response_lost={"sqs": 1})
        inject_aws_faults(sqs, "sqs", plan)

        with pytest.raises(ReadTimeoutError):
            sqs.send_message(QueueUrl=url, MessageBody="sent")

        write_faults(plan)
        os.utime(plan.path, ns=(1, 1))
        assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "sent"

    def test_service_without_rejections_is_unchanged(self, plan: FaultPlan, sqs: SQSClient) -> None:
        write_faults(plan, aws_rejected={"*": 1}, aws_response_lost={"*": 1})

        inject_aws_faults(sqs, "sts", plan)

        assert sqs.create_queue(QueueName="jobs")["QueueUrl"]


def run_checkpoint(faults_file: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """Run a process that calls a checkpoint and prints `alive` if it survives."""
    code = (
        "from replicate_proxy.bootstrap.environment import checkpoint\n"
        "checkpoint('dispatch.job_claimed')\n"
        "print('alive')\n"
    )
    environment = {
        "PYTHONPATH": str(LAYER),
        "AWS_ENDPOINT_URL": endpoint,
        "LOCAL_SETTINGS": json.dumps({"faults_file": str(faults_file)}),
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
