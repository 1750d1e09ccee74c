"""The console's page of usage and costs."""

from __future__ import annotations

import boto3

from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.jobs.model import Cost, JobStatus, TimelineStep
from replicate_proxy.usage.model import EndedJob
from tests.support.aws import USAGE_TABLE
from tests.support.builders import make_job
from tests.support.console import Browser


def test_usage_says_what_tenants_are_billed_for(operator: Browser, tenant: Browser) -> None:
    timeline = {TimelineStep.FINISHED: clock.now()}
    jobs = [
        make_job(JobStatus.SUCCEEDED, model=model, cost=cost, timeline=timeline, replicate_account=account)
        for model, cost, account in [
            ("acme/shared", Cost(micro_usd=2_000_000), ""),
            ("acme/own", Cost(micro_usd=500_000), "acme-at-replicate"),
        ]
    ]
    store = DynamoUsageStore(boto3.client("dynamodb"), USAGE_TABLE)
    store.count([EndedJob.from_job(job) for job in jobs], now=clock.now())

    billed = "$2.50 spent; Replicate bills $0.50 of it to"
    assert f"{billed} accounts of tenants" in operator.get("/usage").text
    assert f"{billed} the account of the tenant" in operator.get("/usage?tenant=acme").text
    assert f"{billed} your account there" in tenant.get("/usage").text
