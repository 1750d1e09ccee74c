"""The small scenarios that are explored exhaustively: one or two jobs, and who acts on them.

Each scenario leaves nothing to chance. What happens at the same virtual time happens in every order that the
allowed preemptions reach: so a scenario lets things coincide that should not disturb each other.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.errors import ProxyError
from replicate_proxy.model_entries.entry import FallbackTarget, ModelEntry
from replicate_proxy.replicate_api.errors import UpstreamUnavailableError
from tools.simulation.batch_scenarios import BATCH_SCENARIOS
from tools.simulation.functions.components import Features
from tools.simulation.functions.replicate_access import build_breaker
from tools.simulation.scenario import Cast, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _create_one(cast: Cast) -> None:
    cast.spawn("caller", cast.create)


def _create_with_webhook(cast: Cast, events: tuple[str, ...]) -> None:
    url = cast.add_receiver("https://acme.test/hook")
    cast.spawn("caller", partial(cast.create, webhook=url, events=events))


def _create_with_queue_limit(cast: Cast) -> None:
    fallbacks = (FallbackTarget(target="acme/second", fields={"prompt": "text"}),)
    entry = ModelEntry(name="acme/model", fallbacks=fallbacks, fallback_after_seconds=30)
    cast.spawn("caller", partial(cast.create, entry=entry))


def _create_for_two_tenants(cast: Cast, seconds_between: float = 0.0) -> None:
    cast.spawn("caller-acme", partial(cast.create, "acme"))
    cast.spawn("caller-globex", partial(cast.create, "globex"), delay_seconds=seconds_between)


def _create_two_equal(cast: Cast) -> None:
    for number in range(2):
        cast.spawn(f"caller-{number}", partial(cast.create, key=f"key-{number}"), delay_seconds=5.0 * number)


def _create_twice_with_one_key(cast: Cast) -> None:
    cast.spawn("caller-1", cast.create)
    cast.spawn("caller-2", cast.create)


def _create_and_delete(cast: Cast) -> None:
    url = cast.add_receiver("https://acme.test/hook")
    cast.spawn("caller", partial(cast.create_and_delete, webhook=url, after_seconds=55.0))


def _create_two_within_limit(cast: Cast) -> None:
    cast.limit_tenant("acme", 1)
    for number in range(2):
        cast.spawn(f"caller-{number}", partial(cast.create, key=f"key-{number}"))


def _call_through_breaker(cast: Cast) -> None:
    """Let calls of Replicate last so long that they meet: the breaker opens for half a minute."""

    def call(result: Callable[[], None], seconds: float) -> None:
        breaker = build_breaker(cast.world.components)

        def wait() -> None:
            cast.world.scheduler.sleep(seconds)
            result()

        with suppress(ProxyError):
            breaker.call(wait)

    def fail() -> None:
        raise UpstreamUnavailableError("no response")

    for number in range(8):
        cast.spawn(f"failing-{number}", partial(call, fail, 1.0))
    cast.spawn("straggler", partial(call, fail, 40.0))
    for name in ("probe", "probe-2"):
        cast.spawn(name, partial(call, lambda: None, 20.0), delay_seconds=32.0)


# The sweep runs at full minutes. A job of unknown outcome is checked after 30 s, a running one after 300 s.
SCENARIOS: Mapping[str, Scenario] = {
    "webhook": Scenario(
        description="one job with a webhook: create, start, completed",
        start=partial(_create_with_webhook, events=("start", "completed")),
    ),
    "duplicates": Scenario(
        description="one job, each of whose messages is delivered twice",
        start=_create_one,
        duplicates_messages=True,
    ),
    "response-lost": Scenario(
        description="one job whose create response is lost; its first webhook comes with the sweep",
        start=_create_one,
        first_creates=("response_lost",),
        run_seconds=(60.0, 60.0),
        faults=frozenset({"lost", "late"}),
    ),
    "cancel": Scenario(
        description="one job canceled while it is submitted and starts",
        start=lambda cast: cast.spawn("caller", partial(cast.create_and_cancel, after_seconds=0.0)),
        run_seconds=(0.0, 60.0),
    ),
    "create-waits": Scenario(
        description="one job created while the breaker is open, for longer than a message may be received",
        start=lambda cast: cast.spawn("caller", partial(cast.trip_and_create, tripped_seconds=900.0)),
        choices=1,
    ),
    "cancel-waits": Scenario(
        description="one job canceled while the breaker is open, for longer than a message may be received",
        start=lambda cast: cast.spawn(
            "caller", partial(cast.create_and_cancel, after_seconds=10.0, tripped_seconds=900.0)
        ),
        run_seconds=(0.0, 3000.0),
        choices=1,
    ),
    "adoption": Scenario(
        description="two equal jobs: one adopts the prediction of the other, whose webhook comes then",
        start=_create_two_equal,
        first_creates=("reset", "response_lost"),
        echoes_webhook=False,
        # The first job adopts it with the sweep at 900 s.
        run_seconds=(925.0, 600.0),
        pauses=(60.0,),
        choices=1,
    ),
    "adoption-lag": Scenario(
        description="an equal job of another tenant, just before one that was not sent looks for its own",
        # The first job looks for the last time at 180 s, when the index of active jobs lacks the second one.
        start=partial(_create_for_two_tenants, seconds_between=179.5),
        first_creates=("reset", "response_lost"),
        webhooks_enabled=False,
        run_seconds=(5.0, 60.0),
        propagation_seconds=1.0,
        choices=1,
    ),
    "deadline": Scenario(
        description="one job whose message comes again after its deadline, while it is submitted slowly",
        start=lambda cast: cast.spawn("caller", partial(cast.create_with_deadline, repeat_after_seconds=10)),
        run_seconds=(0.0, 4.0),
        pauses=(3.0, 12.0),
    ),
    "two-tenants": Scenario(
        description="two jobs with equal input of two tenants, both create responses lost",
        start=_create_for_two_tenants,
        first_creates=("response_lost", "response_lost"),
        run_seconds=(60.0, 60.0),
    ),
    "sweep-webhook": Scenario(
        description="the sweep polls a running job while its webhook comes; polls fail or answer late",
        start=_create_one,
        run_seconds=(0.0, 300.0),
        faults=frozenset({"outage"}),
        pauses=(20.0,),
    ),
    "harvest-lease": Scenario(
        description="a harvest that dies or is slow, and the sweep that resumes it when its lease ends",
        start=_create_one,
        pauses=(290.0,),
    ),
    "two-deliveries": Scenario(
        description="two deliveries of one job to one receiver, which is busy or whose answer is lost",
        start=partial(_create_with_webhook, events=("start", "completed")),
        run_seconds=(0.0, 0.0),
        faults=frozenset({"answer_lost", "busy"}),
    ),
    "endpoint": Scenario(
        description="an endpoint is enabled while deliver finds it disabled",
        start=lambda cast: cast.spawn("owner", partial(cast.create_with_endpoint, enable_after_seconds=10.0)),
        run_seconds=(0.0, 10.0),
        receiver_answers=("gone",),
    ),
    "breaker": Scenario(
        description="two calls want to probe, and one from before the breaker opened fails meanwhile",
        start=_call_through_breaker,
    ),
    "queue-time": Scenario(
        description="one job whose prediction starts or succeeds while it is canceled for its wait",
        start=_create_with_queue_limit,
        run_seconds=(61.0, 30.0),
        faults=frozenset({"lost"}),
        # Until it starts, and until it has succeeded.
        pauses=(1.0, 31.0),
    ),
    "stream": Scenario(
        description="one job whose stream is recorded while a webhook comes, and canceled while it streams",
        start=lambda cast: cast.spawn(
            "caller", partial(cast.create_and_cancel, after_seconds=10.0, by_name=True)
        ),
        run_seconds=(0.0, 60.0),
        streams=True,
        choices=1,
    ),
    "idempotency-key": Scenario(
        description="a create with an idempotency key sent twice at once",
        start=_create_twice_with_one_key,
    ),
    "deletion": Scenario(
        description="one job that is deleted soon after its end, while its webhook is sent",
        start=_create_and_delete,
        features=Features(has_deletions=True),
        # It ends at 50 s; the sweep at 60 s makes no pass yet.
        run_seconds=(0.0, 50.0),
        pauses=(10.0,),
        rest_seconds=27 * 3600.0,
        choices=1,
    ),
    "line": Scenario(
        description="two jobs of a tenant that may run one: the second joins the line as the first one ends",
        start=_create_two_within_limit,
        features=Features(has_limits=True),
    ),
    **BATCH_SCENARIOS,
}
