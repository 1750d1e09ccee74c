"""All mutants, in the order in which they are hunted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.simulation.mutants.access import ACCESS_MUTANTS
from tools.simulation.mutants.authorizations import AUTHORIZATION_MUTANTS
from tools.simulation.mutants.batches import BATCH_MUTANTS
from tools.simulation.mutants.capacity import CAPACITY_MUTANTS
from tools.simulation.mutants.deletions import DELETION_MUTANTS
from tools.simulation.mutants.deliveries import DELIVERY_MUTANTS
from tools.simulation.mutants.jobs import JOB_MUTANTS
from tools.simulation.mutants.money import MONEY_MUTANTS
from tools.simulation.mutants.operations import OPERATION_MUTANTS
from tools.simulation.mutants.operators import OPERATOR_MUTANTS
from tools.simulation.mutants.pauses import PAUSE_MUTANTS
from tools.simulation.mutants.reads import RESULT_MUTANTS, SEARCH_MUTANTS
from tools.simulation.mutants.replays import REPLAY_MUTANTS
from tools.simulation.mutants.submissions import SUBMISSION_MUTANTS

if TYPE_CHECKING:
    from tools.simulation.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *SUBMISSION_MUTANTS,
    *JOB_MUTANTS,
    *DELIVERY_MUTANTS,
    *CAPACITY_MUTANTS,
    *ACCESS_MUTANTS,
    *AUTHORIZATION_MUTANTS,
    *MONEY_MUTANTS,
    *DELETION_MUTANTS,
    *OPERATION_MUTANTS,
    *REPLAY_MUTANTS,
    *PAUSE_MUTANTS,
    *OPERATOR_MUTANTS,
    *BATCH_MUTANTS,
    *RESULT_MUTANTS,
    *SEARCH_MUTANTS,
)
