"""Broken variants of deletions."""

from __future__ import annotations

from datetime import timedelta

from replicate_proxy.aws.row_removers import DynamoDeliveryRemover
from replicate_proxy.deletion import model as deletion_model
from replicate_proxy.deletion.model import Deletion
from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.run import RunSettings

_WITH_DELETIONS = RunSettings(jobs=25, delete_share=1.0)
# Slots are freed before they are granted, and places written after their line was closed.
_LATE_WRITES = FaultMix(
    aws_writes=Rates(late=0.06, response_lost=0.05, pause_before=0.05), runs=Rates(long=0.2)
)
# The process that records a change ends after that, and another one records it while its job is deleted.
_RECORDED_TWICE = {"notify-0-4/5": "crash_after", "notify-0-6/2": "pause 10"}

DELETION_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "deliveries are deleted while their change may still be sent",
        "delivered once after success",
        ((deletion_model, "_FIRST_PASS_DELAY", timedelta(0)),),
        scenario="deletion",
        script=_RECORDED_TWICE,
    ),
    Mutant(
        "a deletion does not wait for what comes late",
        "nothing is deleted early",
        ((Deletion, "calculate_next_pass", lambda *_arguments: None),),
        settings=_WITH_DELETIONS,
    ),
    Mutant(
        "the deliveries of a deleted job stay",
        "deleted is deleted",
        ((DynamoDeliveryRemover, "remove_job", lambda *_arguments: 0),),
        settings=_WITH_DELETIONS,
    ),
    Mutant(
        "a deletion does not look for slots and places in line of its job",
        "deleted is deleted",
        ((deletion_model, "_list_limits", lambda _job: ()),),
        mix=_LATE_WRITES,
        settings=RunSettings(jobs=25, key_requests=0, limited_share=1.0, delete_share=0.8),
    ),
)
