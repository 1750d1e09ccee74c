"""What the template must hold. A rule takes a stack and tells, in a line each, where it does not hold."""

from __future__ import annotations

from collections.abc import Callable

from tests.template.rules import api, data, edge, functions, hops, permissions, watching
from tests.template.stack import Stack

type Rule = Callable[[Stack], list[str]]

ALL: tuple[Rule, ...] = (
    hops.queues_are_consumed_or_dead_letter,
    hops.queue_consumers,
    hops.stream_consumers,
    hops.event_targets,
    hops.asynchronous_invocations,
    hops.dead_letters_raise_an_alarm,
    functions.log_groups,
    functions.roles_are_own,
    functions.traced_and_bounded,
    functions.no_secret_in_the_environment,
    functions.invocations_name_their_source,
    permissions.no_star_action,
    permissions.stars_have_reasons,
    permissions.no_foreign_managed_policy,
    data.tables,
    data.buckets,
    data.bucket_policies,
    data.queues_are_encrypted,
    data.one_key_for_everything,
    api.methods_are_authorized,
    api.methods_are_validated,
    api.caches_keep_callers_apart,
    api.refusals_are_problems,
    api.stages_are_throttled,
    edge.distributions,
    edge.networks_are_closed,
    edge.firewalls,
    edge.local_settings_stay_local,
    watching.alarms_reach_somebody,
    watching.own_metrics_are_counted_and_told_apart,
    watching.the_dashboard_shows_everything,
)
