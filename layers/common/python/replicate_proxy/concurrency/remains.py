"""Remove what is left of a deleted job in its limits: a slot granted at its end, a place written late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.concurrency.model import WaitingJob

if TYPE_CHECKING:
    from replicate_proxy.concurrency.ports import SlotStore
    from replicate_proxy.deletion.model import Deletion


def leave_limits(store: SlotStore, deletion: Deletion) -> None:
    """Remove the job from the lines and slots of its limits.

    The sweep repairs limits with a line only.
    """
    # Jobs of large batches have other places than those of small ones, and a deletion does not know which.
    kinds = (False, True) if deletion.batch_id is not None else (False,)
    places = [WaitingJob(deletion.tenant, deletion.id, "", is_batched=is_batched) for is_batched in kinds]
    for name in deletion.limits:
        store.forget(name, places)
