"""Record where the time of one real job went, for the picture in docs/performance.md."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.console.charts import build_waterfall
from tools.bench.load import MODEL
from tools.bench.results import record_picture
from tools.docs.waterfall import describe_hops
from tools.local.keys import DEMO_TENANT
from tools.local.loopback import receive_webhooks
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.webhooks.model import Delivery
    from tools.bench.load import LoadGenerator

_WARM_UP_JOBS = 4
_TIMEOUT_SECONDS = 60
_DUE_SHARDS = 1  # What is overdue is not read here.


def record_waterfall(generator: LoadGenerator) -> None:
    """Run one image job with a webhook, and record the hops that the console shows of it."""
    stack = generator.stack
    jobs = DynamoJobStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"])
    deliveries = DynamoDeliveryStore(
        stack.get_client("dynamodb"), stack.outputs["DeliveriesTableName"], due_shards=_DUE_SHARDS
    )
    with receive_webhooks(lambda *_: 204) as origin:
        events = ["start", "completed"]
        options = {"webhook": f"{origin}/hook", "webhook_events_filter": events}
        generator.run_burst(_WARM_UP_JOBS, threads=_WARM_UP_JOBS, **options)  # starts the deliver function
        sent_at, job_id = generator.submit_job(**options)
        generator.wait_for_end(sent_at, job_id, poll_seconds=0.1)

        def find_sent() -> Sequence[Delivery] | None:
            found = deliveries.list_by_job(DEMO_TENANT, job_id)
            is_over = len(found) == len(events) and not any(delivery.is_pending for delivery in found)
            return found if is_over else None

        sent = wait_for(find_sent, timeout_seconds=_TIMEOUT_SECONDS, description=f"webhooks of {job_id}")
    job = jobs.get(DEMO_TENANT, job_id)
    assert job is not None
    title = f"{MODEL}, warm local stack, {len(events)} webhooks"
    record_picture("waterfall", describe_hops(title, build_waterfall(job, sent, datetime.now(UTC))))
