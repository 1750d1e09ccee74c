"""What must hold where tenants have accounts of their own: every prediction is in the account of its job."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from replicate_proxy.aws.job_records import is_deletion, job_from_record, job_key
from tools.simulation.accounts import SHARED_NAME
from tools.simulation.observation import read_partition
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from tools.simulation.invariants import Invariants, JobKey
    from tools.simulation.replicate import Prediction
    from tools.simulation.world import World

_ACCOUNT = "a job runs in one account"


class AccountInvariants:
    """Watches the predictions and the webhooks of one world; reports to `invariants`."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        self._accounts: defaultdict[JobKey, set[str]] = defaultdict(set)
        check_create = world.replicate.on_create

        def on_create(prediction: Prediction) -> None:
            check_create(prediction)
            self._check_create(prediction)

        world.replicate.on_create = on_create
        world.replicate.on_refused = self._check_refused
        invariants.at_rest.append(self._check_jobs)

    def _check_create(self, prediction: Prediction) -> None:
        """The record names the account before the request is sent, and all attempts run in that one."""
        tenant, job_id = prediction.job
        if prediction.account != SHARED_NAME and not prediction.account.startswith(f"{tenant}-"):
            detail = f"{prediction.id} of {prediction.job} runs in {prediction.account}"
            self._invariants.report("tenants are isolated", detail)
        accounts = self._accounts[prediction.job]
        accounts.add(prediction.account)
        if len(accounts) > 1:
            self._invariants.report(_ACCOUNT, f"{prediction.job} has predictions in {sorted(accounts)}")
        partition = job_key(tenant, job_id)["pk"]
        for record in read_partition(self._world.aws, Table.JOBS, partition, sk_prefix="JOB"):
            if not is_deletion(record):
                self._compare(prediction, job_from_record(record).replicate_account)

    def _check_jobs(self) -> None:
        jobs = {(job.tenant, job.id): job for job in self._world.truth.read_jobs()}
        for prediction in self._world.replicate.predictions.values():
            if job := jobs.get(prediction.job):
                self._compare(prediction, job.replicate_account)
            holder = jobs.get(self._invariants.find_holder(prediction))
            if holder is not None:
                self._compare(prediction, holder.replicate_account)

    def _compare(self, prediction: Prediction, recorded: str) -> None:
        if prediction.account != (recorded or SHARED_NAME):
            detail = f"{prediction.id} of {prediction.job} is in {prediction.account}, recorded: {recorded}"
            self._invariants.report(_ACCOUNT, detail)

    def _check_refused(self, prediction: Prediction) -> None:
        """Replicate's signature is right, so a refusal means that another account's secret was used."""
        detail = f"that of {prediction.id} in {prediction.account} was taken for forged"
        self._invariants.report("genuine webhooks are accepted", detail)
