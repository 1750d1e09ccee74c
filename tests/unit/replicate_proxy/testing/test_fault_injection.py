"""Faults on demand: struck as the file says in the local stack, out of reach everywhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from collections.abc import Iterator, Mapping

LAYER = Path(fault_injection.__file__).parents[2]


@pytest.fixture
def plan(tmp_path: Path) -> FaultPlan:
    return FaultPlan(tmp_path / "faults.json")


@pytest.fixture
def sqs() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client(
            "sqs", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )


def install(plan: FaultPlan, **said: Mapping[str, float]) -> Path:
    """Writes the faults file; gives back its log."""
    log = plan.path.with_name("log.jsonl")
    plan.path.write_text(json.dumps({**said, "log": str(log)}), encoding="utf-8")
    return log


def struck(log: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []


class TestWhere:
    def test_no_settings_no_plan(self) -> None:
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
    def test_settings_count_only_where_aws_itself_is_on_loopback(self, endpoint: str | None) -> None:
        said = {"LOCAL_SETTINGS": json.dumps({"faults_file": "/faults.json"})}
        if endpoint is not None:
            said["AWS_ENDPOINT_URL"] = endpoint

        assert load_fault_plan(Environment(said).local_settings()) is None

    def test_on_loopback_they_count(self) -> None:
        said = {
            "LOCAL_SETTINGS": json.dumps({"faults_file": "/faults.json"}),
            "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
        }

        plan = load_fault_plan(Environment(said).local_settings())
        assert plan is not None
        assert plan.path == Path("/faults.json")

    def test_a_function_on_aws_gets_the_checkpoint_that_does_nothing(self, tmp_path: Path) -> None:
        file = tmp_path / "faults.json"
        file.write_text(json.dumps({"crash": {"*": 1}, "log": str(tmp_path / "log")}), encoding="utf-8")

        on_aws = run_checkpoint(file, "https://dynamodb.us-east-1.amazonaws.com")
        on_this_machine = run_checkpoint(file, "http://127.0.0.1:4566")

        assert (on_aws.returncode, on_aws.stdout) == (0, "alive\n")
        assert (on_this_machine.returncode, on_this_machine.stdout) == (86, "")


class TestFile:
    def test_no_file_no_faults(self, plan: FaultPlan) -> None:
        assert not plan.should_fail("crash", "dispatch.job_claimed")

    def test_broken_file_no_faults(self, plan: FaultPlan) -> None:
        plan.path.write_text("{", encoding="utf-8")

        assert not plan.should_fail("crash", "dispatch.job_claimed")

    def test_named_rate_comes_before_the_general_one(self, plan: FaultPlan) -> None:
        install(plan, crash={"dispatch.job_claimed": 0, "*": 1})

        assert not plan.should_fail("crash", "dispatch.job_claimed")
        assert plan.should_fail("crash", "dispatch.prediction_created")

    def test_a_kind_that_is_not_named_never_strikes(self, plan: FaultPlan) -> None:
        install(plan, crash={"*": 1})

        assert not plan.should_fail("aws", "sqs")

    def test_what_strikes_is_on_record(self, plan: FaultPlan) -> None:
        log = install(plan, crash={"*": 1})

        plan.should_fail("crash", "track.change_stored")

        assert struck(log) == [{"kind": "crash", "name": "track.change_stored"}]

    def test_a_changed_file_counts_at_once(self, plan: FaultPlan) -> None:
        install(plan, crash={"*": 1})
        assert plan.should_fail("crash", "track.change_stored")

        install(plan, crash={"*": 0})
        os.utime(plan.path, ns=(1, 1))

        assert not plan.should_fail("crash", "track.change_stored")


class TestCalls:
    def test_refused_before_anything_happens(self, plan: FaultPlan, sqs: Any) -> None:
        url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
        log = install(plan, aws={"sqs": 1})
        inject_aws_faults(sqs, "sqs", plan)

        with pytest.raises(ClientError, match="ThrottlingException"):
            sqs.send_message(QueueUrl=url, MessageBody="lost")

        install(plan)
        os.utime(plan.path, ns=(1, 1))
        assert "Messages" not in sqs.receive_message(QueueUrl=url)
        assert struck(log) == [{"kind": "aws", "name": "sqs"}]

    def test_answer_lost_after_it_happened(self, plan: FaultPlan, sqs: Any) -> None:
        url = sqs.create_queue(QueueName="jobs")["QueueUrl"]
        install(plan, aws_answer={"sqs": 1})
        inject_aws_faults(sqs, "sqs", plan)

        with pytest.raises(ReadTimeoutError):
            sqs.send_message(QueueUrl=url, MessageBody="sent all the same")

        install(plan)
        os.utime(plan.path, ns=(1, 1))
        assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "sent all the same"

    def test_a_service_without_faults_is_left_alone(self, plan: FaultPlan, sqs: Any) -> None:
        install(plan, aws={"*": 1}, aws_answer={"*": 1})

        inject_aws_faults(sqs, "sts", plan)

        assert sqs.create_queue(QueueName="jobs")["QueueUrl"]


def run_checkpoint(faults_file: Path, endpoint: str) -> subprocess.CompletedProcess[str]:
    """A process that passes a step boundary as a function would: it says `alive` where it survives."""
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
